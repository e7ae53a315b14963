"""Which software made an entry, and whether it is older than another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edw.errors import SettingsError
from edw.model.provenance import Made, can_be_compared, version_key

ORDER = ['0', '1', '1.2', '1.9', '1.10', '1.x', '2', '2.0.1', '10', '2024.11', 'a', 'a.1', 'b']


@pytest.mark.parametrize('index', range(len(ORDER) - 1))
def test_versions_are_compared_part_by_part(index: int) -> None:
    assert version_key(ORDER[index]) < version_key(ORDER[index + 1])


def test_zeros_at_the_end_say_nothing() -> None:
    assert version_key('2') == version_key('2.0') == version_key('2.0.0') != version_key('2.0.1')


@given(st.text(), st.text())
def test_any_two_versions_can_be_compared(one: str, other: str) -> None:
    assert (version_key(one) < version_key(other)) + (version_key(one) > version_key(other)) <= 1
    version_key('9' * 10_000)


@pytest.mark.parametrize(
    ('version', 'others', 'can_be'),
    [
        ('3', ['1', '2'], True),
        ('v3', ['1', '2'], False),
        ('x', ['1', 'v2'], True),  # somebody counts so
        ('2.x', ['2.0', '3'], False),
        ('2.rc', ['1', '2'], True),  # nothing is in its place
        ('3', ['v1', 'v2'], True),  # is older than all
        ('x', [], True),
    ],
)
def test_a_text_is_not_compared_where_all_have_numbers(version: str, others: list[str], can_be: bool) -> None:
    assert can_be_compared(version, others) is can_be


def document(version: Any = None, commit: Any = None, finished: Any = None, name: str = 's') -> dict[str, Any]:
    return {'process': [{'name': name, 'finished': finished, 'software': {'step': version, 'commit': commit}}]}


@pytest.mark.parametrize(
    ('asked', 'doc', 'is_one'),
    [
        ({'version_below': '3'}, document('2'), True),
        ({'version_below': '3'}, document('3'), False),
        ({'version_below': '3'}, document('10'), False),
        ({'version_below': '3'}, {'process': [{'name': 's'}]}, True),  # of the original scripts
        ({'version_below': '3'}, document('2', name='other'), False),
        ({'version_below': '3'}, {'process': 'none'}, False),
        ({'version_below': '3'}, {'process': [None, {'name': 's', 'software': 'x'}]}, True),
        ({'commit': '5b0f5b6'}, document('2', '5b0f5b6'), True),
        ({'commit': '5b0f5b6'}, document('2', '5b0f5b6+'), True),
        ({'commit': '5b0f5b6+'}, document('2', '5b0f5b6'), False),
        ({'commit': '5b0f5b6+'}, document('2', '5b0f5b6+'), True),
        ({'commit': '5b0f'}, document('2', '5b0f5b6'), True),
        ({'commit': '5b0f5b6' + 33 * 'a'}, document('2', '5b0f5b6'), True),
        ({'commit': '5b0f5b6'}, document('2', '6b0f5b6'), False),
        ({'commit': '5b0f5b6'}, document('2'), False),
        ({'commit': '5b0f5b6'}, document('2', '+'), False),
        ({'before': 10.0}, document(finished=9), True),
        ({'before': 10.0}, document(finished=10), False),
        ({'before': 10.0}, document(), True),
        ({'version_below': '3', 'before': 10.0}, document('2', finished=11), False),
        ({'version_below': '3', 'commit': '5b0f'}, document('2', '6666'), False),
    ],
)
def test_what_is_asked_of_an_entry(asked: dict[str, Any], doc: dict[str, Any], is_one: bool) -> None:
    assert (Made('s', **asked).misses(doc) is None) is is_one


@pytest.mark.parametrize('asked', [{'version_below': ''}, {'commit': ''}, {'commit': '5b0'}, {'commit': 'HEAD~1'}])
def test_what_cannot_be_asked(asked: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Made('s', **asked)
