from __future__ import annotations

import math

import pytest

from edw.model import documents


@pytest.mark.parametrize(
    ('process', 'last'),
    [
        ([], 0),
        ([{'name': 'move_to_sps'}], 'move_to_sps'),
        ([{'name': 'a'}, {'name': 'b'}], 'b'),
        ([{'file': 'x'}], None),
        ([{'name': 3}], None),
        ([None], None),
        (['move_to_sps'], None),
        ([['name']], None),
        ('move_to_sps', None),
        ({}, None),
        (None, None),
    ],
)
def test_last_step(process: object, last: object) -> None:
    assert documents.last_step({'process': process}) == last


def test_process_missing_is_not_an_empty_one() -> None:
    assert documents.last_step({}) is None


@pytest.mark.parametrize(
    ('doc', 'free'),
    [
        ({'status': 'good', 'process': []}, True),
        ({'status': 'good', 'process': [], 'claim': None}, True),
        ({'status': 'good', 'process': [], 'claim': {}}, False),
        ({'status': 'bad', 'process': []}, False),
        ({'process': []}, False),
        ({'status': 'good', 'process': [{'name': 'a'}]}, False),
        ({'status': 'good', 'process': [], '_deleted': True}, False),
        (None, False),
    ],
)
def test_free_after_nothing(doc: dict | None, free: bool) -> None:
    assert documents.is_free(doc, 0) is free


def test_false_and_zero_are_not_the_same_step() -> None:
    assert not documents.is_free({'status': 'good', 'process': [{'name': ''}]}, 0)


def test_changes_leave_other_fields_and_the_given_document_alone() -> None:
    doc = {'_id': 'x', 'status': 'good', 'process': [{'name': 'a'}], 'operator': 'note', 'claim': {'worker': 'w'}}
    before = {**doc, 'process': list(doc['process'])}
    new = documents.with_entry(doc, {'name': 'b'})
    assert new == {'_id': 'x', 'status': 'good', 'process': [{'name': 'a'}, {'name': 'b'}], 'operator': 'note'}
    assert doc == before


def test_failing_for_good_keeps_a_status_that_somebody_set_meanwhile() -> None:
    assert documents.failed_for_good({'status': 'good'}, 'failed')['status'] == 'failed'
    assert documents.failed_for_good({'status': 'under discussion'}, 'failed')['status'] == 'under discussion'


@pytest.mark.parametrize(
    ('failures', 'attempt'),
    [
        ([], 1),
        ([{'process': 'a', 'attempt': 1}], 2),
        ([{'process': 'a', 'attempt': 2}, {'process': 'other', 'attempt': 1}], 3),
        ([{'process': 'a', 'attempt': 3}], 1),  # requeued after the last one
        ([{'process': 'a', 'attempt': 'x'}], 1),
        ([{'process': 'a', 'attempt': True}], 1),
        ([None, 'text'], 1),
        ('text', 1),
        (None, 1),
    ],
)
def test_next_attempt(failures: object, attempt: int) -> None:
    assert documents.next_attempt({'failures': failures}, 'a', 3) == attempt


def test_the_last_file_is_found_behind_entries_that_name_none() -> None:
    moved = {'name': 'first', 'file': '/x'}
    for later in ([], [{'name': 'second', 'skipped': 'why'}], [{'name': 'second', 'file': 3}, None, 'odd']):
        assert documents.entry_with_file({'process': [moved, *later]}) == moved
    for process in ([], [{'name': 'first', 'skipped': 'why'}], None, 'odd', {}):
        assert documents.entry_with_file({'process': process}) is None
    doc = {'process': [moved, {'name': 'second', 'skipped': 'why'}]}
    assert documents.entry_that_left(doc, 'second') is None and documents.entry_that_left(doc, 'first') == moved


def test_a_skipped_pass_has_left_nothing_to_be_used_again() -> None:
    entries = [{'name': 'move', 'md5sum': 'a'}, {'name': 'move', 'skipped': 'why'}, {'name': 'move', 'md5sum': 'b'}]
    doc = {'superseded': [{'entries': entries}]}
    assert [documents.pass_of(doc, 'move', md5sum) for md5sum in ('a', 'b', 'c')] == [1, 3, 4]


def test_failures_that_are_no_list_are_kept() -> None:
    assert documents.with_failure({'failures': 'text'}, {'attempt': 1})['failures'] == ['text', {'attempt': 1}]


def short(value: object) -> str:
    return repr(value)[:9]


@pytest.mark.parametrize('value', [True, None, '1', [], math.inf, -math.inf, math.nan, 10**400, -(10**400)], ids=short)
def test_what_is_no_number_to_reckon_with(value: object) -> None:
    assert documents.number(value) is None
    assert documents.waiting_since({'process': [], 'datecreated': value}) is None


def test_numbers_to_reckon_with() -> None:
    assert [documents.number(value) for value in (0, -1.5, 10**300)] == [0.0, -1.5, 1e300]
