from __future__ import annotations

import math

import pytest

from edw.engines.callbacks import MAX_ERROR_LENGTH, run_callback
from edw.errors import StepError, Unprocessable
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
