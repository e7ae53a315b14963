"""The tests that pytest-xdist keeps together."""

from __future__ import annotations

from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

from tests.sharing import GROUPS, LONG, Sharing, group_of

ROOT = Path(__file__).resolve().parent.parent.parent


def test_what_measures_time_is_together() -> None:
    assert group_of('tests/chaos/test_chaos.py::test_chaos') == 'time'
    assert group_of('tests/acceptance/test_recovery.py::test_x[1]') == 'time'
    assert group_of('tests/unit/test_files.py::test_x') is None


def test_what_is_named_is_there() -> None:
    for beginning in (*(beginning for beginnings in GROUPS.values() for beginning in beginnings), *LONG):
        file, _, test = beginning.partition('::')
        assert (ROOT / file).exists() and f'def {test}' in ((ROOT / file).read_text() if test else 'def ')


def test_pytest_xdist_asks_for_the_group_of_a_test() -> None:
    assert Sharing._split_scope is not LoadScopeScheduling._split_scope
    assert '_split_scope' in LoadScopeScheduling.schedule.__code__.co_names
