"""Times, ages and other people's text, as they are shown."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edw.operating.display import age, columns, entries, moment, place_lines, safe, shortened, size

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.text())
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    assert safe(text).isprintable() and shortened(text).isprintable()
    if text.isprintable():
        assert safe(text) == text


@pytest.mark.parametrize(
    ('text', 'shown'),
    [('\x1b[31m', r'\x1b[31m'), ('a\r\nb', r'a\r\nb'), ('\u202egpj', r'\u202egpj'), ('\ud800', r'\ud800'), ('ü', 'ü')],
)
def test_what_is_escaped_can_be_read(text: str, shown: str) -> None:
    assert safe(text) == shown


@given(numbers)
def test_any_number_is_an_age_and_a_moment(seconds: float) -> None:
    assert age(seconds).isprintable() and len(age(seconds)) < 20
    assert moment(seconds).isprintable() and len(moment(seconds)) < 40


@pytest.mark.parametrize(
    ('seconds', 'said'),
    [(None, '-'), (-3, '0 s'), (59, '59 s'), (150, '2 min'), (5400, '1.5 h'), (2.5 * 86400, '2.5 days')],
)
def test_ages(seconds: float | None, said: str) -> None:
    assert age(seconds) == said


def test_extremes() -> None:
    assert age(sys.float_info.max) == '2e+303 days'
    assert moment(None) == '-' and moment(1e300) == '1e+300 s'


@pytest.mark.parametrize(
    ('count', 'text'),
    [(0, '0 bytes'), (999, '999 bytes'), (1000, '1 kB'), (999_600, '1 MB'), (1.234e9, '1.23 GB'), (5e18, '5e+03 PB')],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


def test_columns_are_as_wide_as_what_is_in_them_and_safe() -> None:
    assert columns([('a', 'b'), ('\x1b', 'c')]) == ['a     b', '\\x1b  c']


def test_where_there_is_no_room_the_last_cells_stand_below_in_one_piece() -> None:
    path = '/srv/' + 'a' * 30 + '/x-y.root'
    lines = [('id', 'n', 'error'), ('x', '10', f'StepError: {path} is gone'), ('long', '2', 'short')]
    assert entries(lines, 200, right={1})[1] == [f'x     10  StepError: {path} is gone']
    assert entries(lines, 20, right={1}) == [
        ['id     n', '    error'],
        ['x     10', '    StepError:', f'    {path}', '    is gone'],
        ['long   2', '    short'],
    ]
    assert entries([('x', 'a', 'b c')], 4, below=2) == [['x', '    a', '    b', '    c']]


def test_the_folder_of_a_database_stands_below_in_one_piece_where_there_is_no_room() -> None:
    url, folder = 'http://127.0.0.1:5984/x', '(embedded server, data in /srv/with blanks/couchdb)'
    place = f'{url} {folder}'
    assert place_lines(place, 200, 'database ') == [f'database {place}']
    assert place_lines(place, 40, 'database ', '  now') == [f'database {url}  now', f'    {folder}']
    assert place_lines(url, 10) == [url]
