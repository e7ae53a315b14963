"""When a file is taken for finished: by two looks, whatever the clocks say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edw.registering.contents import Settling, State

SETTLE, HOUR = 60.0, 3600.0


class Machine:
    """A folder, the time of day by which its files are dated, and what has passed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.today, self.passed = folder, 1_700_000_000.0, 50.0
        self.settling = Settling(SETTLE, lambda: self.passed)

    def write(self, name: str) -> None:
        file = self.folder / name
        with file.open('a') as stream:
            stream.write('x')
        os.utime(file, (self.today, self.today))

    def after(self, seconds: float) -> set[str]:
        self.today += seconds
        self.passed += seconds
        states = {file: State.of(file.stat()) for file in sorted(self.folder.iterdir())}
        return {file.name for file in self.settling.settled(states)}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_file_is_finished_when_it_was_the_same_for_the_time(machine: Machine) -> None:
    machine.write('x')
    assert machine.after(0.0) == machine.after(SETTLE - 1) == set()
    assert machine.after(1.0) == {'x'}


@pytest.mark.parametrize('wrong', [-1000 * HOUR, -2 * SETTLE, 24 * HOUR], ids=['years ago', 'behind', 'ahead'])
def test_the_date_of_a_file_is_compared_with_no_clock(machine: Machine, wrong: float) -> None:
    machine.today += wrong
    for _ in range(5):
        machine.write('x')
        assert machine.after(10.0) == set()
    assert machine.after(SETTLE) == {'x'}


def test_a_file_that_grows_with_an_old_date_is_not_finished(machine: Machine) -> None:
    for _ in range(5):
        machine.write('x')
        assert machine.after(SETTLE) == set()
        machine.today -= SETTLE


def test_a_file_of_the_same_size_and_date_in_its_place_is_another_one(machine: Machine) -> None:
    machine.write('x')
    machine.after(0.0)
    machine.write('y')
    (machine.folder / 'y').replace(machine.folder / 'x')
    assert machine.after(SETTLE) == set() and machine.after(SETTLE) == {'x'}


def test_a_file_that_was_deleted_has_no_past(machine: Machine) -> None:
    machine.write('x')
    machine.after(0.0)
    (machine.folder / 'x').unlink()
    machine.after(SETTLE)
    machine.write('x')
    assert machine.after(0.0) == set() and machine.after(SETTLE) == {'x'}
