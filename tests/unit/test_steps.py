from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from edw.engines.callbacks import MAX_ERROR_LENGTH, MAX_TRACEBACK, describe, end_of_traceback, run_callback
from edw.errors import StepError, TryLater, Unprocessable
from edw.listening import steps
from edw.listening.steps import Step
from edw.model import documents
from edw.redact import keep_secret


def test_entry_and_times() -> None:
    outcome = run_callback(lambda doc: {'file': doc['_id'], 'n': (1, 2)}, {'_id': 'x'})
    assert outcome.entry == {'file': 'x', 'n': [1, 2]}
    assert outcome.started <= outcome.finished and outcome.seconds >= 0
    assert outcome.error == ''


def nested(levels: int) -> object:
    value: object = {}
    for _ in range(levels):
        value = {'deeper': value}
    return value


@pytest.mark.parametrize(
    'result',
    [None, [], 'text', {'n': math.nan}, {'n': math.inf}, {'n': object()}, {'s': '\ud800'}, nested(250), nested(5000)],
)
def test_a_result_that_the_database_cannot_keep_is_a_failure_of_the_step(result: object) -> None:
    outcome = run_callback(lambda doc: result, {'_id': 'x'})
    assert outcome.entry is None
    assert outcome.error


@pytest.mark.parametrize(
    ('error', 'final'),
    [(ValueError('v'), False), (StepError('s'), False), (Unprocessable('u'), True), (SystemExit(3), False)],
)
def test_whatever_is_raised_becomes_an_outcome(error: BaseException, final: bool) -> None:
    def callback(doc: dict) -> dict:
        raise error

    outcome = run_callback(callback, {'_id': 'x'})
    assert outcome.error == f'{type(error).__name__}: {error}'
    assert outcome.final is final


class NoCalibration(StepError):
    kind = 'no calibration'


@pytest.mark.parametrize(
    ('error', 'kind'),
    [
        (StepError('s', kind='md5 differs'), 'md5 differs'),
        (Unprocessable('u', 'odd \n kind' + 'x' * 99), 'odd kind' + 'x' * 52),
        (NoCalibration('of this run'), 'no calibration'),
        (NoCalibration('of this run', kind='another'), 'another'),
        (StepError('s'), 'StepError'),
        (KeyError('k'), 'KeyError'),
    ],
)
def test_the_kind_of_an_error_goes_into_the_failure(error: Exception, kind: str) -> None:
    outcome = run_callback(raising(error), {'_id': 'x'})
    update, _, _ = steps.failure({'_id': 'x'}, outcome, 1.0, Step('first', 0, 'f'), 3)
    assert update.record is not None and documents.failure_kind_of(update.record) == kind
    assert update.record['error'] == f'{type(error).__name__}: {error}'


def test_errors_are_redacted_cut_and_fit_for_json() -> None:
    keep_secret('oh-so-secret')

    def callback(doc: dict) -> dict:
        raise ValueError('oh-so-secret \udcff ' + 'x' * 2 * MAX_ERROR_LENGTH)

    error = run_callback(callback, {'_id': 'x'}).error
    assert error.startswith('ValueError: *** ? x')
    assert len(error) == MAX_ERROR_LENGTH


def test_callback_gets_a_copy() -> None:
    doc: dict = {'_id': 'x', 'process': [{'name': 'a'}]}

    def callback(doc: dict) -> dict:
        doc['process'].append({'name': 'mine'})
        return {}

    assert run_callback(callback, doc).entry == {}
    assert doc == {'_id': 'x', 'process': [{'name': 'a'}]}


def raising(error: BaseException) -> Callable[[dict], dict]:
    def callback(doc: dict) -> dict:
        raise error

    return callback


def test_the_end_of_a_traceback_is_kept_without_secrets() -> None:
    keep_secret('oh-so-secret')
    trace = run_callback(raising(ValueError('oh-so-secret \udcff')), {'_id': 'x'}).traceback
    assert trace.startswith('Traceback') and trace.endswith('ValueError: *** ?')
    assert 'in callback' in trace and 'run_callback' not in trace


def test_a_long_traceback_is_cut_at_its_beginning() -> None:
    keep_secret('oh-so-secret')
    trace = run_callback(raising(ValueError('é oh-so-secret' * 5000 + ' the end')), {'_id': 'x'}).traceback
    assert len(trace.encode()) <= MAX_TRACEBACK and trace.endswith('*** the end')
    assert 'secret' not in trace


@pytest.mark.parametrize('error', [StepError('s'), Unprocessable('u'), TryLater('t')])
def test_what_was_expected_needs_no_traceback(error: StepError) -> None:
    assert run_callback(raising(error), {'_id': 'x'}).traceback == ''


def test_an_error_that_cannot_be_printed_has_a_traceback_that_says_so() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError('no')

    with pytest.raises(RuntimeError):
        describe(Odd())
    assert end_of_traceback(Odd())
