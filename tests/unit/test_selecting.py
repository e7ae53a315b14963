"""Which documents are wanted: conditions, runs, and what people said of them."""

from __future__ import annotations

from typing import Any

import pytest

from edw.errors import SettingsError
from edw.selecting import conditions, wanted
from edw.selecting.rows import row_of
from edw.selecting.wanted import ANY, Wanted

DOC: dict[str, Any] = {
    '_id': 'ma22a000_000',
    'run': 'ma22a000',
    'status': 'good',
    'datecreated': 1000.0,
    'original_file': '/raw/ma22a000_000.root',
    'md5sum': 'a' * 32,
    'conditions': {'volts': {'detector_a': [8, -8]}, 'temperature': 0.0152, 'mode': 'scan'},
    'process': [
        {'name': 'move_to_sps', 'file': '/sps/x.root', 'md5sum': 'b' * 32},
        {'name': 'signal_processing', 'file': '/sps/x.amp.root', 'software': {'step': '2'}, 'finished': 1010.0},
    ],
    'tags': [{'name': 'golden', 'by': 'anna'}],
    'quality': {'value': 'good', 'by': 'anna'},
    'condition': 'background',
}


@pytest.mark.parametrize(
    ('text', 'holds'),
    [
        ('conditions.temperature < 0.0155', True),
        ('conditions.temperature<0.0152', False),
        ('conditions.temperature <= 0.0152', True),
        ('conditions.temperature >= 0.02', False),
        ('conditions.volts.detector_a.1 = -8', True),
        ('conditions.volts.detector_a.1 == -8.0', True),
        ('conditions.volts.detector_a.7 = -8', False),
        ('conditions.mode = scan', True),
        ('conditions.mode = "scan"', True),
        ('conditions.mode > 0', False),  # a text is not compared with a number
        ('conditions.mode != 0', True),
        ('conditions.mode >= scan', True),
        ('nothing.of.the.kind < 1', False),
        ('nothing.of.the.kind != 1', True),
        ('nothing = null', False),
        ('status = good', True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert conditions.parse(text).holds(DOC) is holds


@pytest.mark.parametrize(
    'text',
    ['', 'temperature', '< 3', 'x <', 'x = ', 'x < [1]', 'x < true', 'x = {}', 'x < null', 'x < 1e400', 'x = NaN'],
)
def test_what_is_no_condition_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match=r'condition|compared|less'):
        conditions.parse(text)


@pytest.mark.parametrize(
    ('text', 'run', 'is_one'),
    [
        ('ma22a000', 'ma22a000', True),
        ('ma22a000', 'ma22a0001', False),
        ('ma22a000..ma22b013', 'ma22a999', True),
        ('ma22a000..ma22b013', 'ma22b013', True),
        ('ma22a000..ma22b013', 'ma22b014', False),
        ('ma22a*', 'ma22a777', True),
        ('ma22a*', 'ma22b000', False),
        ('ma22a?00', 'ma22a100', True),
        ('ma22a?00', 'ma22a101', False),
        ('*', 'anything', True),
    ],
)
def test_runs(text: str, run: str, is_one: bool) -> None:
    assert wanted.runs(text).has(run) is is_one


@pytest.mark.parametrize('text', ['', '..', 'a..', '..b', 'b..a'])
def test_what_is_no_run_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        wanted.runs(text)


@pytest.mark.parametrize(
    ('asked', 'matches'),
    [
        (Wanted(), True),
        (Wanted(step='move_to_sps'), True),
        (Wanted(step='calibrate'), False),
        (Wanted(step='signal_processing', step_version='2'), True),
        (Wanted(step='signal_processing', step_version='1'), False),
        (Wanted(step='move_to_sps', step_version='1'), False),  # an entry that does not say
        (Wanted(status='bad'), False),
        (Wanted(status=ANY), True),
        (Wanted(tags=('golden',)), True),
        (Wanted(tags=('golden', 'blind')), False),
        (Wanted(quality='good'), True),
        (Wanted(quality='unknown'), False),
        (Wanted(condition='background'), True),
        (Wanted(since=1000.0, until=1000.5), True),
        (Wanted(until=1000.0), False),
        (Wanted(where=(conditions.parse('conditions.temperature < 1'), conditions.parse('run != x'))), True),
    ],
)
def test_what_is_wanted(asked: Wanted, matches: bool) -> None:
    assert asked.matches(DOC) is matches


@pytest.mark.parametrize(
    'odd',
    [
        {'run': None},
        {'run': 3},
        {'process': None},
        {'process': [None, 3, {'name': 5}]},
        {'tags': 'golden', 'quality': 3, 'datecreated': 'yesterday', 'conditions': []},
    ],
)
def test_odd_documents_end_nothing(odd: dict[str, Any]) -> None:
    doc = DOC | odd
    assert Wanted(since=1.0, tags=('x',), step='move_to_sps', quality='good').matches(doc) is False
    if isinstance(doc['run'], str):
        assert row_of(doc, 'move_to_sps').id == DOC['_id']


def test_a_document_of_the_original_has_a_row() -> None:
    original = {'_id': 'x', 'run': 'r', 'status': 'good', 'original_file': '/raw/x', 'md5sum': 'c', 'process': []}
    row = row_of(original, None)
    assert (row.path, row.md5sum, row.step, row.quality, row.tags) == ('/raw/x', 'c', None, 'unknown', ())
    assert Wanted().matches(original) and Wanted(quality='unknown').matches(original)


def test_the_row_is_of_the_step_that_was_asked_for() -> None:
    assert row_of(DOC, 'move_to_sps').path == '/sps/x.root'
    last = row_of(DOC, None)
    assert (last.path, last.step, last.done, last.tags) == ('/sps/x.amp.root', 'signal_processing', 1010.0, ('golden',))


@pytest.mark.parametrize(
    ('where', 'conditions_', 'may_be'),
    [
        ('conditions.temperature < 0.0155', {'temperature': 0.015}, True),
        ('conditions.temperature < 0.0155', {'temperature': 0.016}, False),
        ('conditions.temperature < 0.0155', None, False),
        ('conditions.temperature != 0.0155', None, True),
        ('conditions.temperature < 0.0155', 1, True),  # a design document that does not say it
        ('extra < 3', {}, True),  # not told by the view
        ('conditions.serial = 9007199254740993', {'serial': 9007199254740992}, True),  # rounded by JavaScript
        ('conditions.serial = 7', {'serial': 8}, False),
    ],
)
def test_what_may_be_wanted_by_what_the_view_tells(where: str, conditions_: Any, may_be: bool) -> None:
    asked = Wanted(where=(conditions.parse(where),))
    assert asked.may_be('good', conditions_) is may_be
    assert not asked.may_be('failed', conditions_)
