"""What a run's documents have in common, in the words of the pages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from edw.model import summary
from edw.model.summary import Alike, Table
from tests.unit.test_web import ANY_JSON

VOLTS = {'detector_a': [8, -8, 2, -2], 'detector_b': [4, -4, 1.5, -1.5]}


@pytest.mark.parametrize(
    ('lowest', 'highest', 'unit', 'text'),
    [
        (0.015234, 0.015234, 'K', '15.2 mK'),
        (0.015012, 0.015934, 'K', '15.0 to 15.9 mK'),
        (0.0151, 0.015101, 'K', '15.1 mK'),
        (0.015, 0.015, 'K', '15 mK'),
        (0, 0, 'K', '0 K'),
        (1, 1, 'K', '1 K'),
        (0.9999, 0.9999, 'K', '1.00 K'),
        (-0.0021, 0.3, 'V', '−2.10 to 300 mV'),
        (1200, 1200, 'V', '1.20 kV'),
        (1e-15, 1e-15, 'K', '1.00e−15 K'),
        (1700000123, 1700000123, '', '1.70e+09'),
        (12345, 12345, '', '12345'),
        (0.5, 2, '', '0.500 to 2'),
    ],
)
def test_numbers_are_written_as_people_do(lowest: float, highest: float, unit: str, text: str) -> None:
    assert summary.span(lowest, highest, unit) == text


def test_conditions_of_one_document_and_of_several() -> None:
    one = {'conditions': {'volts': VOLTS, 'temperature': 0.01523, 'mode': 'calibration', 'valve': None}}
    other = {'conditions': {'volts': VOLTS, 'temperature': 0.0158, 'mode': 'background'}}
    found = summary.conditions([one])
    assert found.single == [('temperature', '15.2 mK'), ('mode', 'calibration')]
    volts = Table('volts', 'V', [('detector_a', ['8', '−8', '2', '−2']), ('detector_b', ['4', '−4', '1.5', '−1.5'])])
    assert found.tables == [volts] and volts.width == 4
    both = summary.conditions([one, {}, other])
    assert both.single[:2] == [('temperature', '15.2 to 15.8 mK'), ('mode', summary.DIFFERENT)]
    assert both.tables == [volts]
    changed = summary.conditions([one, {'conditions': {'volts': {'detector_a': [1]}}}])
    assert ('volts', summary.DIFFERENT) in changed.single and changed.tables == []


@given(ANY_JSON, ANY_JSON)
def test_any_documents_have_a_summary(one: Any, other: Any) -> None:
    docs = [
        {'_id': 'a', 'conditions': value, 'size': value, 'datecreated': value, 'failures': value}
        for value in (one, other, {'x': one}, {'x': other}, [{'error': one, 'time': other}])
    ]
    found = summary.conditions(docs)
    assert all(isinstance(text, str) for _, text in found.single)
    assert all(table.width >= 1 for table in found.tables)
    summary.size_of(docs)
    summary.made_between(docs)
    summary.alike((doc['_id'], *summary.last_error(doc)) for doc in docs)


def test_sizes_and_times_are_of_those_that_say_them() -> None:
    docs = [{'size': 3, 'datecreated': 20.0}, {'size': True}, {'size': 4, 'datecreated': 10}, {}]
    assert summary.size_of(docs) == 7 and summary.made_between(docs) == (10, 20)
    assert summary.size_of([{}]) is None and summary.made_between([{}]) is None


def test_errors_that_differ_in_the_own_name_alone_are_one() -> None:
    missing = [(f'r_{number}', f'StepError: /raw/r_{number}.root is missing', float(number)) for number in (3, 2, 12)]
    one = ('x', 'StepError: x could not be read', None)
    assert summary.alike([one, *missing]) == [
        Alike('StepError: /raw/….root is missing', ['r_3', 'r_2', 'r_12'], 12.0),
        Alike('StepError: x could not be read', ['x'], None),
    ]
    assert summary.alike([('e', 'he', None), ('', 'he', None)])[0].ids == ['e', '']
