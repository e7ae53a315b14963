"""What requeuing makes of a document, whatever is in it."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edw.errors import SettingsError
from edw.model import documents
from edw.model.provenance import Made
from edw.operating import reprocessing
from edw.operating.reprocessing import Outcome, cut_before, difference, requeued
from edw.selecting.selection import Selection

NOW, HOST = 1378222673.5, 'sps-17'
STEPS = ('first', 'second')
ENTRIES: list[dict[str, Any]] = [{'name': 'first', 'file': 'a'}, {'name': 'second', 'file': 'b'}, {'name': 'third'}]
MAY_CHANGE = {'status', 'process', 'superseded', 'claim'}

text = st.text(max_size=8) | st.sampled_from(['good', 'acquiring', 'failed first', *STEPS])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
entry = st.fixed_dictionaries({'name': st.sampled_from(STEPS) | anything}, optional={'file': anything})
document = st.fixed_dictionaries(
    {'_id': st.just('x')},
    optional={
        'status': st.sampled_from(['good', 'failed first']) | anything,
        'process': st.lists(entry | anything, max_size=5) | anything,
        'claim': anything,
        'failures': st.lists(st.fixed_dictionaries({'process': st.sampled_from(STEPS)}) | anything) | anything,
        'superseded': st.lists(anything, max_size=2) | anything,
        'original_file': anything,
    },
)
cut = partial(cut_before, now=NOW, hostname=HOST)


def rest(doc: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in doc.items() if name not in MAY_CHANGE}


def process_with_all_that_was_cut(doc: dict[str, Any], number: int) -> list[Any]:
    """The process that a document had before it was cut for the last `number` times."""
    process = doc['process']
    for cut_then in reversed(doc['superseded'][len(doc['superseded']) - number :]):
        process = process + cut_then['entries']
    return process


@given(doc=document)
def test_requeuing_changes_the_status_and_nothing_else(doc: dict[str, Any]) -> None:
    before = copy.deepcopy(doc)
    new = requeued(doc)
    assert doc == before
    assert {name: value for name, value in new.items() if name != 'status'} == {
        name: value for name, value in doc.items() if name != 'status'
    }
    if reprocessing.is_failed(doc):
        assert new['status'] == 'good' and not reprocessing.is_failed(new)
    else:
        assert new == doc
    assert requeued(new) == new


@given(doc=document, step=st.sampled_from(STEPS) | text)
def test_cutting_keeps_every_entry_and_leaves_other_fields_alone(doc: dict[str, Any], step: str) -> None:
    before = copy.deepcopy(doc)
    new = cut(doc, step)
    assert doc == before
    assert rest(new) == rest(doc) and new.get('claim') == doc.get('claim')
    if not isinstance(doc.get('process'), list):
        assert new == doc
        return
    assert not any(isinstance(entry, dict) and entry.get('name') == step for entry in new['process'])
    assert new.get('status') == requeued(doc).get('status')
    if new['process'] == doc['process']:
        assert new.get('superseded') == doc.get('superseded')
    else:
        last = new['superseded'][-1]
        assert new['process'] + last['entries'] == doc['process'] and last['entries'][0]['name'] == step
        assert last == {'time': NOW, 'hostname': HOST, 'from': step, 'entries': last['entries']}
        old = doc.get('superseded', [])
        assert new['superseded'][:-1] == (old if isinstance(old, list) else [old])
    assert cut(new, step) == new


@given(doc=document, first=st.sampled_from(STEPS), second=st.sampled_from(STEPS))
def test_a_process_that_was_cut_twice_can_be_put_together_again(doc: dict[str, Any], first: str, second: str) -> None:
    if not isinstance(doc.get('process'), list):
        return
    once = cut(doc, first)
    twice = cut(once, second)
    cuts = (once['process'] != doc['process']) + (twice['process'] != once['process'])
    assert (process_with_all_that_was_cut(twice, cuts) if cuts else twice['process']) == doc['process']


@given(doc=document, step=st.none() | st.sampled_from(STEPS), force=st.booleans())
def test_what_is_written_is_free_or_claimed_by_nobody_and_no_fault_stops_the_others(
    doc: dict[str, Any], step: str | None, force: bool
) -> None:
    left = Outcome()
    version = reprocessing.wanted(doc, requeued if step is None else partial(cut, step=step), force, left)
    if version is None:
        noted = (left.unchanged, left.claimed, [text.split(':')[0] for text in left.refused])
        assert sorted(noted) == [[], [], ['x']] and not left.done and not left.conflicts
        assert bool(left.claimed) <= (doc.get('claim') is not None and not force)
    else:
        assert left == Outcome() and version.get('claim') is None and version['status'] == 'good'
        assert isinstance(version['process'], list) and rest(version) == rest(doc)
        assert difference(doc, version)


@given(doc=document)
def test_no_document_stops_a_selection(doc: dict[str, Any]) -> None:
    for selection in (
        Selection(failed=True),
        Selection(failed=True, step='first'),
        Selection(status='failed first'),
        Selection(run='r'),
        Selection(ids=('x',)),
    ):
        selection.misses(doc)


@pytest.mark.parametrize(
    ('step', 'kept', 'superseded'),
    [('first', 0, True), ('second', 1, True), ('third', 2, True), ('fourth', 3, False)],
)
def test_cutting_a_chain(step: str, kept: int, superseded: bool) -> None:
    doc = {'_id': 'x', 'status': 'third failed', 'process': ENTRIES, 'failures': [{'process': 'third'}], 'note': 1}
    expected: dict[str, Any] = {**doc, 'status': 'good', 'process': ENTRIES[:kept]}
    if superseded:
        expected['superseded'] = [{'time': NOW, 'hostname': HOST, 'from': step, 'entries': ENTRIES[kept:]}]
    assert cut(doc, step) == expected


def test_cutting_goes_back_to_the_first_of_several_entries_of_a_step() -> None:
    process = [*ENTRIES, *ENTRIES]
    assert cut({'_id': 'x', 'status': 'good', 'process': process}, 'second')['process'] == ENTRIES[:1]


@pytest.mark.parametrize(
    ('fields', 'says'),
    [
        ({'_id': '_design/process', 'status': 'failed', 'process': []}, 'is a design document'),
        ({'status': 'failed'}, 'process is missing'),
        ({'status': 'failed', 'process': 'first'}, 'process is missing or no list'),
        ({'status': 'acquiring', 'process': []}, 'is still being written'),
        ({'process': []}, 'status is missing'),
        ({'status': 7, 'process': []}, 'status is missing or no text'),
    ],
)
@pytest.mark.parametrize('force', [False, True])
def test_documents_that_are_never_touched(fields: dict[str, Any], says: str, force: bool) -> None:
    left = Outcome()
    doc = {'_id': 'x', **fields}
    assert reprocessing.wanted(doc, partial(cut, step='first'), force, left) is None
    assert left.refused == [left.refused[0]] and left.refused[0].startswith(doc['_id']) and says in left.refused[0]
    assert not left.is_complete


def test_a_claim_protects_unless_it_is_taken_away() -> None:
    doc = {'_id': 'x', 'status': 'good', 'process': ENTRIES[:1], 'claim': {'worker': 'w', 'process': 'second'}}
    left = Outcome()
    assert reprocessing.wanted(doc, partial(cut, step='second'), False, left) is None
    assert left == Outcome(claimed=['x']) and not left.is_complete
    # Nothing is to be cut, but what the listener finds is not wanted.
    version = reprocessing.wanted(doc, partial(cut, step='second'), True, left)
    assert version == {'_id': 'x', 'status': 'good', 'process': ENTRIES[:1]}
    assert difference(doc, version) == 'the claim of w removed'


@pytest.mark.parametrize(
    ('failures', 'step'),
    [
        ([{'process': 'first'}, {'process': 'second'}], 'second'),
        ([{'process': 'first'}, None], None),
        ([{'process': 7}], None),
        ([['process']], None),
        ([], None),
        ('first', None),
        (None, None),
    ],
)
def test_failed_step(failures: object, step: str | None) -> None:
    assert documents.failed_step({'failures': failures}) == step


@pytest.mark.parametrize(
    ('failures', 'attempt'),
    [
        (
            [
                {'process': 'first', 'attempt': 1},
                {'process': 'first', 'attempt': 2},
                {'process': 'first', 'attempt': 3},
            ],
            1,
        ),
        ([{'process': 'first', 'attempt': 1}], 2),  # a step that said that trying again is useless
        ([{'process': 'first', 'attempt': 2}], 3),  # never more than the last one: one attempt is left in any case
        ([], 1),
    ],
)
def test_attempts_of_a_document_that_was_requeued(failures: list[dict[str, Any]], attempt: int) -> None:
    doc = requeued({'_id': 'x', 'status': 'first failed', 'process': [], 'failures': failures})
    assert documents.next_attempt(doc, 'first', 3) == attempt


@pytest.mark.parametrize('fields', [{}, {'failed': False}, {'step': 'first'}, {'run': 'r', 'step': 'first'}])
def test_a_selection_of_nothing_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Selection(**fields)


@pytest.mark.parametrize(
    ('selection', 'viewname'),
    [
        (Selection(failed=True), 'failed'),
        (Selection(failed=True, step='first'), 'failed'),
        (Selection(failed=True, step='first', status='first failed'), 'failed'),
        (Selection(failed=True, status='first failed'), 'status'),
        (Selection(run='r', failed=True), 'runs'),
        (Selection(made=Made('s', '2')), 'entries'),
        (Selection(run='r', made=Made('s', '2')), 'runs'),
        (Selection(ids=('x',), made=Made('s', '2')), None),
        (Selection(run='r', ids=('x',)), None),
        (Selection(id_range=('a', 'b'), failed=True), None),
    ],
)
def test_the_narrowest_index_is_read(selection: Selection, viewname: str | None) -> None:
    assert selection.viewname == viewname
