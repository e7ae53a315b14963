"""The order of the steps, as told by what was done to the documents. Pure functions.

No setting lists the steps: each listener knows only its own name and that of the step before it.
"""

from __future__ import annotations

import difflib
import heapq
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

# An edge below both is odd: a document that somebody edited by hand must not turn the chain of all others round.
RARE_COUNT = 10  # times that an edge was followed
RARE_SHARE = 0.01  # of the times of the edge that leads most often to the same step

MOST_NAMED = 30  # steps that a message names

Place = str | int  # a document's last step, 0 where nothing has been done yet
Edges = Mapping[tuple[Place, str], int]  # (last step before, step): how often the step was done after it


@dataclass(frozen=True)
class Chain:
    """`steps` in order; `next` is the step that documents of a place wait for, `before` the place before a step.

    A place that no step was ever done after is not in `next`: its documents are finished.
    """

    steps: list[str]
    next: dict[Place, str]
    before: dict[str, Place]


def chain_of(edges: Edges, active: Collection[str] = ()) -> Chain:
    """The chain that the edges make: each step after all that lead to it, odd edges and cycles disregarded.

    Where several steps were done after the same one, as when a step was put between two or taken out, the first of
    those that are `active` (worked on now or lately) is the next.
    """
    kept = _without_odd(edges)
    steps = _in_order(kept, {step for _, step in edges})
    position: dict[Place, int] = {0: -1, **{step: number for number, step in enumerate(steps)}}
    after: defaultdict[Place, list[str]] = defaultdict(list)
    leading: defaultdict[str, list[Place]] = defaultdict(list)
    for place, step in kept:
        if position.get(place, -1) < position[step]:
            after[place].append(step)
            leading[step].append(place)
    if not after[0]:
        after[0] = [step for place, step in edges if place == 0]
    following = {
        place: min(steps, key=lambda step: (step not in active, position[step]))
        for place, steps in after.items()
        if steps
    }

    def nearness(place: Place, step: str) -> tuple[bool, bool, int, str]:
        return following[place] == step, place in active, position.get(place, -1), repr(place)

    before = {step: max(places, key=lambda place: nearness(place, step)) for step, places in leading.items()}
    return Chain(steps, following, before)


def places_of(edges: Edges, step: str) -> set[Place]:
    """The places that a step was done at, odd ones disregarded."""
    return {place for place, name in _without_odd(edges) if name == step}


def is_behind(edges: Edges, place: Place, step: str) -> bool:
    """Whether a place comes behind a step, however many steps lie between, odd edges disregarded."""
    kept = _without_odd(edges)
    seen: set[Place] = set()
    left: set[Place] = {step}
    while left:
        seen |= left
        following: set[Place] = {name for before, name in kept if before in left}
        left = following - seen
    return place in seen - {step}


def lookalike(place: Place, others: Iterable[Place]) -> str | None:
    """Another place whose name looks the same as this one's, though it is written with other characters.

    Names are equal for people, and in CouchDB's order of keys, whose accents are one character or two (NFC, NFD), or
    that differ in characters without a look of their own.
    """
    if not isinstance(place, str):
        return None
    look, names = _look_of(place), (other for other in others if isinstance(other, str))
    return next((name for name in names if name != place and _look_of(name) == look), None)


def unheard_of(step: str, known: Iterable[str]) -> str:
    """That no document has ever been at a step, in words; with the `known` names, and which was meant, perhaps."""
    names = sorted(set(known))
    shown = ', '.join(name if name.isprintable() else ascii(name) for name in names[:MOST_NAMED]) or 'none'
    more = f' and {len(names) - MOST_NAMED} more' if len(names) > MOST_NAMED else ''
    return f'no document has ever been at step {step}; steps that were done here: {shown}{more}{meant(step, names)}'


def meant(name: str, known: Iterable[str]) -> str:
    """`. Did you mean …?`, where a known name is like this one; else nothing."""
    near = difflib.get_close_matches(name, [*known], 1)
    return f'. Did you mean {near[0]}?' if near else ''


def _look_of(name: str) -> str:
    seen = (character for character in name if unicodedata.category(character) not in ('Cc', 'Cf'))
    return unicodedata.normalize('NFC', ''.join(seen))


def _without_odd(edges: Edges) -> dict[tuple[Place, str], int]:
    strongest: defaultdict[str, int] = defaultdict(int)
    for (_, step), count in edges.items():
        strongest[step] = max(strongest[step], count)
    return {
        (place, step): count
        for (place, step), count in edges.items()
        if place != step and (count >= RARE_COUNT or count >= RARE_SHARE * strongest[step])
    }


def _in_order(edges: Edges, steps: set[str]) -> list[str]:
    """Topological order; of steps that could be next, the one done most often. Of a cycle, the one best led to."""
    done: defaultdict[str, int] = defaultdict(int)
    open_edges: dict[str, set[Place]] = {step: set() for step in steps}
    leads_to: defaultdict[Place, list[str]] = defaultdict(list)
    led: defaultdict[str, int] = defaultdict(int)  # how often a step was done after what is in order already
    for (place, step), count in edges.items():
        done[step] += count
        if place in steps:
            open_edges[step].add(place)
            leads_to[place].append(step)
        else:
            led[step] += count
    ready = [(-done[step], step) for step in steps if not open_edges[step]]
    heapq.heapify(ready)
    ordered: dict[str, None] = {}
    while len(ordered) < len(steps):
        if ready:
            step = heapq.heappop(ready)[1]
        else:
            left = (step for step in steps if step not in ordered)
            step = min(left, key=lambda step: (-led[step], -done[step], step))
        if step in ordered:
            continue  # was the best of a cycle before its last edge was gone
        ordered[step] = None
        for follower in leads_to[step]:
            led[follower] += edges[step, follower]
            open_edges[follower].discard(step)
            if not open_edges[follower] and follower not in ordered:
                heapq.heappush(ready, (-done[follower], follower))
    return list(ordered)
