"""One document's history, out of any JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edw.engines.callbacks import end_of_traceback
from edw.model.timeline import Event, raised_at, timeline
from edw.redact import keep_secret

FIELDS = (
    *('process', 'failures', 'superseded', 'claim', 'datecreated', 'original_file', 'run'),
    *('checked', 'original_deleted'),
)
PARTS = ('name', 'process', 'started', 'finished', 'time', 'since', 'hostname', 'file', 'log', 'error', 'attempt')
PARTS += ('software', 'edw', 'commit', 'step', 'python', 'packages', 'traceback')
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*PARTS, 'worker', 'from', 'entries']) | st.text(max_size=4), inner)
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(FIELDS), anything) | anything


@given(documents)
def test_any_json_has_a_timeline(doc: Any) -> None:
    events = timeline(doc)
    assert bool(events) == isinstance(doc, dict)
    for event in events:
        texts = (event.what, event.step, event.hostname, event.file, event.text, event.software, event.traceback)
        texts += (event.returned,)
        assert all(isinstance(part, str) for part in texts)
        assert '\n' not in raised_at(event.traceback)
        assert event.time is None or isinstance(event.time, float)
    json.dumps([event.__dict__ for event in events], allow_nan=False)
    if isinstance(doc, dict) and isinstance(doc.get('process'), list):
        assert sum(event.what == 'done' for event in events) == len(doc['process'])


def test_a_long_history() -> None:
    doc = {
        '_id': 'x',
        'run': 'ma22a000',
        'original_file': '/raw/x.root',
        'datecreated': 100,
        'process': [
            {
                'name': 'move',
                'hostname': 'a',
                'file': '/sps/x',
                'log': '7 bytes',
                'started': 110,
                'finished': 112.5,
            },
            {'name': 'analyse', 'started': 300, 'finished': 301},
        ],
        'failures': [
            {'process': 'move', 'error': 'StepError: no disk', 'hostname': 'a', 'time': 105, 'attempt': 1},
        ],
        'superseded': [
            {
                'time': 200,
                'hostname': 'desk',
                'from': 'analyse',
                'entries': [{'name': 'analyse', 'hostname': 'b', 'started': 150, 'finished': 160}],
            }
        ],
        'claim': {'process': 'plot', 'worker': 'c:77:ab12cd34', 'since': 302},
    }
    assert timeline(doc) == [
        Event(100, 'made', '', '', None, '/raw/x.root', 'run ma22a000'),
        Event(105, 'failed', 'move', 'a', None, '', 'attempt 1: StepError: no disk'),
        Event(112.5, 'done', 'move', 'a', 2.5, '/sps/x', '7 bytes'),
        Event(160, 'superseded', 'analyse', 'b', 10, '', ''),
        Event(200, 'requeued', 'analyse', 'desk', None, '', '1 entry superseded'),
        Event(301, 'done', 'analyse', '', 1, '', ''),
        Event(302, 'claimed', 'plot', 'c', None, '', 'c:77:ab12cd34'),
    ]


def test_entries_of_the_original_scripts_stay_in_their_order() -> None:
    doc = {'datecreated': 5, 'process': [{'name': 'b'}, {'name': 'a', 'finished': 9}, {'name': 'c'}], 'claim': 'x'}
    assert [event.step or event.what for event in timeline(doc)] == ['made', 'b', 'a', 'c', 'claimed']


@pytest.mark.parametrize('field', ['file', 'log', 'hostname'])
def test_a_login_in_a_url_is_not_shown(field: str) -> None:
    events = timeline({'process': [{'name': 'move', field: 'sftp://me:hidden@host/x'}]})
    assert 'hidden' not in str(events) and 'sftp://host/x' in str(events)


def test_a_clock_that_was_set_mixes_no_order_and_makes_no_negative_duration() -> None:
    hour = 3600
    doc = {
        'datecreated': 1000 + hour,  # on a machine whose clock was ahead
        'process': [
            {'name': 'move', 'started': 1010 + hour, 'finished': 1012, 'log': '7 bytes'},  # set right meanwhile
            {'name': 'analyse', 'started': 1020 - hour, 'finished': 1025 - hour},  # on one that is late
            {'name': 'plot', 'started': 1030, 'finished': 1031},
        ],
        'failures': [{'process': 'analyse', 'error': 'StepError: no disk', 'time': 1015}],
    }
    assert [(event.what, event.step, event.duration, event.text) for event in timeline(doc)] == [
        ('made', '', None, ''),
        ('done', 'move', None, '7 bytes  (its clock was set back meanwhile)'),
        ('done', 'analyse', 5, ''),
        ('failed', 'analyse', None, 'StepError: no disk'),
        ('done', 'plot', 1, ''),
    ]


def test_a_duration_beyond_all_numbers_is_none() -> None:
    """It would be `Infinity` in the output of --json, which is no JSON."""
    (_, event) = timeline({'process': [{'name': 'x', 'started': -1.7e308, 'finished': 1.7e308}]})
    assert event.duration is None and event.time == 1.7e308


def test_what_became_of_its_files() -> None:
    doc = {
        '_id': 'x',
        'original_file': '/raw/x.root',
        'checked': {
            'time': 9.0,
            'hostname': 'b',
            'md5': True,
            'result': 'bad',
            'wrong': [{'file': '/sps/x', 'what': 'missing', 'text': 'is missing'}, 3],
        },
        'original_deleted': {'time': 5.0, 'hostname': 'a', 'copies': ['/sps/x']},
    }
    assert timeline(doc)[1:] == [
        Event(5.0, 'original deleted', '', 'a', None, '/raw/x.root', 'verified: /sps/x'),
        Event(9.0, 'checked', '', 'b', None, '', 'bad, every byte read; /sps/x is missing'),
    ]


def test_software_and_traceback_are_told_without_secrets() -> None:
    keep_secret('oh-so-secret')
    made_by = {'edw': '2.1.0', 'commit': '5b0f5b6+', 'python': '3.11.2', 'step': '2', 'packages': {'numpy': '2.2.1'}}
    failure = {'process': 's', 'time': 2, 'software': {'step': 'oh-so-secret'}, 'traceback': 'oh-so-secret'}
    _, done, failed = timeline(
        {'process': [{'name': 's', 'finished': 1, 'software': made_by}], 'failures': [failure]},
    )
    assert done.software == 'edw 2.1.0 (5b0f5b6+), step 2, python 3.11.2, numpy 2.2.1'
    assert (failed.software, failed.traceback) == ('step ***', '***')


def test_where_an_error_was_raised() -> None:
    def inner() -> None:
        raise ValueError('several\nlines')

    try:
        inner()
    except ValueError as error:
        shown = raised_at(end_of_traceback(error))
    assert shown.startswith('File "') and shown.endswith("in inner raise ValueError('several\\nlines')")
    assert raised_at('ValueError: cut off') == ''


def test_what_was_cut_comes_before_what_replaced_it_at_the_same_moment() -> None:
    """As when a run is complete anew."""
    cut = {'time': 2.0, 'from': 'run_complete', 'entries': [{'name': 'run_complete', 'finished': 1.0}]}
    doc = {'process': [{'name': 'run_complete', 'finished': 2.0}], 'superseded': [cut]}
    assert [event.what for event in timeline(doc)][1:] == ['superseded', 'requeued', 'done']


def test_what_a_step_returned_is_told_short_and_without_secrets() -> None:
    keep_secret('oh-so-secret')
    entry = {
        'name': 's',
        'finished': 1,
        'file': '/x',
        'bytes': 24601,
        'is_quiet': True,
        'near': 'oh-so-secret',
        'none': None,
    }
    _, done = timeline({'process': [entry]})
    assert done.returned == 'bytes=24601, is_quiet=true, near=***, none=null'
    _, done = timeline({'process': [{'name': 's', 'levels': [1.5] * 1000}]})
    assert (
        done.returned == 'levels=[1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5…' and len(done.returned) == len('levels=') + 40
    )
    _, done = timeline({'process': [{'name': 's', **{f'x{index}': index for index in range(1000)}}]})
    assert done.returned.endswith('x11=11, …')


def test_a_pass_without_a_log_has_nothing_behind_it() -> None:
    _, done = timeline({'process': [{'name': 's', 'pass': 2, 'file': '/x'}]})
    assert done.text == 'pass 2'
