"""When a file is taken for finished, by two clocks of which one may be set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edw.registering.settling import Settling

SETTLE, HOUR = 60.0, 3600.0


class Machine:
    """A folder, the time of day by which its files are dated, and what has passed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.today, self.passed = folder, 1_700_000_000.0, 50.0
        self.settling = Settling(SETTLE, lambda: self.today, lambda: self.passed)

    def write(self, name: str) -> None:
        file = self.folder / name
        with file.open('a') as stream:
            stream.write('x')
        os.utime(file, (self.today, self.today))

    def after(self, seconds: float) -> set[str]:
        self.today += seconds
        self.passed += seconds
        return {file.name for file in self.settling.settled(sorted(self.folder.iterdir()))}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_file_that_was_there_before_is_not_waited_for(machine: Machine) -> None:
    machine.write('old')
    machine.today += SETTLE
    machine.settling = Settling(SETTLE, lambda: machine.today, lambda: machine.passed)
    machine.write('young')
    assert machine.after(0.0) == {'old'}
    assert machine.after(SETTLE) == {'old', 'young'}


def test_a_file_that_is_written_to_is_not_finished_after_the_clock_was_set_forward(machine: Machine) -> None:
    machine.write('x')
    assert machine.after(10.0) == set()
    machine.today += HOUR
    assert machine.after(1.0) == set()
    for _ in range(5):
        assert machine.after(20.0) == set()
        machine.write('x')
    assert machine.after(SETTLE - 1) == set()
    assert machine.after(1.0) == {'x'}


def test_a_clock_that_was_set_back_does_not_keep_files_waiting(machine: Machine) -> None:
    machine.write('x')
    machine.after(10.0)
    machine.today -= HOUR
    assert machine.after(1.0) == set()
    machine.write('y')
    assert machine.after(SETTLE - 1) == {'x'}
    assert machine.after(1.0) == {'x', 'y'}  # by its date, which is one of the clock as it is now


def test_a_date_in_the_future_is_none(machine: Machine) -> None:
    machine.today += 1000 * HOUR
    machine.write('x')
    machine.today -= 1000 * HOUR
    assert machine.after(0.0) == machine.after(SETTLE - 1) == set()
    assert machine.after(1.0) == {'x'}


def test_a_file_that_was_deleted_has_no_past(machine: Machine) -> None:
    machine.today += HOUR
    machine.write('x')
    machine.today -= HOUR
    machine.after(0.0)
    (machine.folder / 'x').unlink()
    assert machine.after(SETTLE) == set()
    machine.today += HOUR
    machine.write('x')
    machine.today -= HOUR
    assert machine.after(0.0) == set() and machine.after(SETTLE) == {'x'}
