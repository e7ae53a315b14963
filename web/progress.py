"""How far the documents of a run are, as parts of a bar."""

from __future__ import annotations

from dataclasses import dataclass

from edw.model.documents import ACQUIRING
from edw.operating.status import RunStatus

NEW, PART, DONE, BAD, OTHER = 'new', 'part', 'done', 'bad', 'other'  # classes of the style sheet


@dataclass(frozen=True)
class Segment:
    """Documents in one state; `start` and `width` in percent of the bar."""

    state: str
    count: int
    kind: str
    start: float
    width: float


def segments(run: RunStatus, steps: list[str]) -> list[Segment]:
    """The states of a run: what is done first, then what is on the way in the order of the chain, then what is not."""
    chain = ['new', *steps]

    def place(state: str) -> tuple[bool, int, str]:
        return state not in chain, -chain.index(state) if state in chain else 0, state

    made: list[Segment] = []
    start = 0.0
    for state in sorted(run.by_state, key=place):
        width = 100 * run.by_state[state] / run.documents
        made.append(Segment(state, run.by_state[state], _kind(state, steps), round(start, 3), round(width, 3)))
        start += width
    return made


def _kind(state: str, steps: list[str]) -> str:
    if state in steps:
        return DONE if state == steps[-1] else PART
    if state == NEW:
        return NEW
    return OTHER if state == ACQUIRING or not steps else BAD
