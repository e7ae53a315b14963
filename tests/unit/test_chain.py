"""The order of the steps, out of what was done to the documents."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edw.model.chain import chain_of, is_behind, places_of

PLAIN: dict[Any, int] = {(0, 'a'): 1000, ('a', 'b'): 900, ('b', 'c'): 800}


def test_a_plain_chain() -> None:
    chain = chain_of(PLAIN)
    assert chain.steps == ['a', 'b', 'c']
    assert chain.next == {0: 'a', 'a': 'b', 'b': 'c'}
    assert chain.before == {'a': 0, 'b': 'a', 'c': 'b'}


def test_nothing_was_done_yet() -> None:
    chain = chain_of({})
    assert (chain.steps, chain.next, chain.before) == ([], {}, {})


@pytest.mark.parametrize(
    'odd',
    [
        {('c', 'a'): 9},  # done again from the beginning
        {('a', 'c'): 7},  # a step left out
        {('b', 'a'): 9, (0, 'c'): 1},  # edited by hand
        {('a', 'a'): 500},  # a step that repeats itself
    ],
)
def test_odd_edges_do_not_turn_the_chain_round(odd: dict[Any, int]) -> None:
    assert chain_of({**PLAIN, **odd}) == chain_of(PLAIN)


@pytest.mark.parametrize('odd', [{}, {('c', 'a'): 7}, {('b', 'a'): 7}, {('a', 'a'): 500}])
def test_what_is_behind_a_step(odd: dict[Any, int]) -> None:
    edges = {**PLAIN, **odd}
    assert is_behind(edges, 'c', 'a') and is_behind(edges, 'b', 'a')
    assert not any(is_behind(edges, place, 'b') for place in (0, 'a', 'b', 'x'))
    assert places_of(edges, 'a') == {0}


def test_a_step_between_two_others_on_one_document_takes_nothing_from_the_rest() -> None:
    chain = chain_of({**PLAIN, ('a', 'x'): 1, ('x', 'b'): 1}, active={'a', 'b', 'c'})
    assert chain.next == {0: 'a', 'a': 'b', 'b': 'c'}
    assert set(chain.steps) == {'a', 'b', 'c', 'x'}


def test_a_step_that_was_put_between_two_is_the_next_one() -> None:
    chain = chain_of({(0, 'a'): 1000, ('a', 'c'): 900, ('a', 'b'): 20, ('b', 'c'): 15}, active={'a', 'b', 'c'})
    assert chain.steps == ['a', 'b', 'c']
    assert chain.next == {0: 'a', 'a': 'b', 'b': 'c'} and chain.before['c'] == 'b'


def test_a_step_that_was_taken_out_waits_for_nothing() -> None:
    chain = chain_of({**PLAIN, ('a', 'c'): 20}, active={'a', 'c'})
    assert chain.steps == ['a', 'b', 'c']
    assert chain.next['a'] == 'c' and chain.before['c'] == 'a'


def test_a_step_never_done_follows_where_it_is_known_to_begin() -> None:
    chain = chain_of({**PLAIN, ('c', 'd'): 0})
    assert chain.steps == ['a', 'b', 'c', 'd'] and chain.next['c'] == 'd'


def test_a_cycle_begins_where_documents_enter_it() -> None:
    chain = chain_of({(0, 'b'): 100, ('b', 'c'): 100, ('c', 'a'): 90, ('a', 'b'): 80})
    assert chain.steps == ['b', 'c', 'a']
    assert chain.before == {'b': 0, 'c': 'b', 'a': 'c'} and 'a' not in chain.next


def test_a_chain_of_thousands() -> None:
    names = [f's{number}' for number in range(5000)]
    edges: dict[Any, int] = dict.fromkeys(itertools.pairwise([0, *names]), 1)
    assert chain_of(edges).steps == names


names = st.sampled_from(['a', 'b', 'c', 'd', '', '0', 'ü'])


@given(st.dictionaries(st.tuples(st.just(0) | names, names), st.integers(0, 10**6)), st.sets(names))
def test_any_edges_make_a_chain(edges: dict[Any, int], active: set[str]) -> None:
    chain = chain_of(edges, active)
    assert sorted(chain.steps) == sorted({step for _, step in edges})
    assert chain == chain_of(dict(reversed(edges.items())), active)
    position = {0: -1, **{step: number for number, step in enumerate(chain.steps)}}
    for place, step in chain.next.items():
        assert position.get(place, -1) < position[step] and (place, step) in edges
    for step, place in chain.before.items():
        assert position.get(place, -1) < position[step] and (place, step) in edges
    assert (0 in chain.next) == any(place == 0 for place, _ in edges)
