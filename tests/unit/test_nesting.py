from __future__ import annotations

import copy
import json
import logging
import pickle
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edw.database import nesting
from edw.database.nesting import DEEPEST, TOO_DEEP, is_too_deep, left_alone, loads
from edw.errors import TooDeep

FAR_TOO_DEEP = 200_000  # levels: no version of Python reads them


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nesting, '_named', set())


def nested(levels: int, kind: str = 'lists') -> str:
    """JSON of so many levels, made without calling itself."""
    opening, closing = {'lists': ('[', ']'), 'dicts': ('{"a \\" ]}[{": ', '}'), 'both': ('[{"a": ', '}]')}[kind]
    times = levels // 2 if kind == 'both' else levels
    return opening * times + '0' + closing * times


def document(doc_id: str, levels: int, kind: str = 'lists') -> str:
    return f'{{"_id": "{doc_id}", "_rev": "1-a", "status": "good", "x": {nested(levels - 1, kind)}}}'


def page(*docs: str, around: str = '{{"total_rows": 9, "rows": [{}], "update_seq": "9-[{{"}}') -> bytes:
    rows = (f'{{"id": {doc[8 : doc.index(",")]}, "key": [0, "]"], "value": 1, "doc": {doc}}}' for doc in docs)
    return around.format(', '.join(rows)).encode()


def depth(value: Any) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    return 1 + max((depth(part) for part in (value.values() if isinstance(value, dict) else value)), default=0)


@pytest.mark.parametrize('kind', ['lists', 'dicts'])
def test_the_limit_is_exact(kind: str) -> None:
    assert not is_too_deep(json.loads(document('x', DEEPEST, kind)))
    assert is_too_deep(json.loads(document('x', DEEPEST + 1, kind)))
    assert loads(document('x', DEEPEST, kind).encode())['_id'] == 'x'
    with pytest.raises(TooDeep, match=f'x is nested deeper than {DEEPEST} levels'):
        loads(document('x', DEEPEST + 1, kind).encode())


@pytest.mark.parametrize('value', [None, 0, 'text', [], {}, [[]], {'a': [{}, 'x' * 1000]}])
def test_what_is_not_nested_is_not_too_deep(value: object) -> None:
    assert not is_too_deep(value)


def test_what_is_not_too_deep_can_be_worked_with() -> None:
    """Also by those that call themselves twice a level, in a thread, deep in other calls."""
    doc = json.loads(document('x', DEEPEST))
    done = []

    def work(calls: int) -> None:
        if calls:
            return work(calls - 1)
        copied = pickle.loads(pickle.dumps(copy.deepcopy(doc)))
        assert copied == doc and json.loads(json.dumps(copied, indent=4)) == doc
        done.append(True)
        return None

    thread = threading.Thread(target=work, args=(300,))
    thread.start()
    thread.join()
    assert done and sys.getrecursionlimit() == 1000


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['lists', 'dicts', 'both'])
@pytest.mark.parametrize('levels', [DEEPEST + 2, 1000, FAR_TOO_DEEP])
def test_others_on_the_page_are_read_and_the_deep_one_is_named_once(
    caplog: pytest.LogCaptureFixture, kind: str, levels: int
) -> None:
    content = page(document('a', 3), document('deep', levels, kind), document('b', DEEPEST), document('c', 2))
    for _ in range(2):
        answer = loads(content)
        assert [row['id'] for row in answer['rows']] == ['a', 'deep', 'b', 'c']
        assert [row['doc'] and row['doc']['_id'] for row in answer['rows']] == ['a', None, 'b', 'c']
        assert answer['rows'][1] == {'id': 'deep', 'key': [0, ']'], 'value': 1, 'doc': None, 'error': TOO_DEEP}
        assert depth(answer['rows'][2]['doc']) == DEEPEST and answer['update_seq'] == '9-[{'
        assert left_alone(answer['rows']) == ['deep']
    said = f'deep is nested deeper than {DEEPEST} levels: it is left alone'
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, said)]


def test_only_deep_ones() -> None:
    assert left_alone(loads(page(*(document(f'{n}', 1000) for n in range(5))))['rows']) == list('01234')


def test_changes_and_leaves() -> None:
    changes = page(document('deep', 1000), document('a', 3), around='{{"results": [{}], "last_seq": 7}}')
    assert left_alone(loads(changes)['results']) == ['deep'] and loads(changes)['last_seq'] == 7
    leaves = f'[{{"ok": {document("x", 3)}}}, {{"ok": {document("x", 5000)}}}, {{"missing": "3-c"}}]'
    assert [bool(row.get('ok')) for row in loads(leaves.encode())] == [True, False, False]


@pytest.mark.parametrize('levels', [1000, FAR_TOO_DEEP])
def test_a_document_alone(levels: int) -> None:
    with pytest.raises(TooDeep, match='deep'):
        loads(document('deep', levels).encode())


@pytest.mark.parametrize('levels', [1000, FAR_TOO_DEEP])
def test_keys_and_values_of_views_can_still_be_shown(levels: int) -> None:
    answer = loads(f'{{"rows": [{{"key": {nested(levels)}, "value": 1}}, {{"key": "good", "value": 2}}]}}'.encode())
    assert answer['rows'][1] == {'key': 'good', 'value': 2} and 'nested too deep' in json.dumps(answer)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'not JSON',
        b'[' * FAR_TOO_DEEP,
        b'{"rows": [{"id": "x", "doc": ' + b'[' * 5000,
        b'[' * 5000 + b']' * 4999,
        page(document('deep', 1000))[:-20],
        page(document('deep', 1000)).replace(b'"key"', b'key'),
        b'\xff\xfe[[[',
    ],
)
def test_what_is_no_json_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        loads(content)


def test_what_is_no_answer_of_a_database_is_cut() -> None:
    assert depth(loads(b'[' * 5000 + b']' * 5000)) == DEEPEST + nesting.ENVELOPE


def documents() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(['[{', '"', '\\', '\\"[', '}]'])
    inner = st.recursive(
        leaves, lambda part: st.lists(part, max_size=2) | st.fixed_dictionaries({'[": ': part}), max_leaves=5
    )
    return st.fixed_dictionaries({'a': inner, '"{': inner})


@settings(max_examples=50)
@given(st.lists(st.tuples(documents(), st.booleans()), max_size=3), st.booleans())
def test_what_is_not_too_deep_comes_as_it_was_written(docs: list[tuple[Any, bool]], ascii_only: bool) -> None:
    rows = [{'id': str(number), 'doc': {'_id': str(number), **doc}} for number, (doc, _) in enumerate(docs)]
    text = json.dumps({'rows': rows}, ensure_ascii=ascii_only)
    for number, (_, deep) in enumerate(docs):
        if deep:
            text = text.replace(f'{{"_id": "{number}"', f'{{"_id": "{number}", "_x": {nested(1000)}')
    expected = [
        {'id': row['id'], 'doc': None, 'error': TOO_DEEP} if deep else row
        for row, (_, deep) in zip(rows, docs, strict=True)
    ]
    assert loads(text.encode('utf-8', 'surrogatepass')) == {'rows': expected}
