"""From counts to coordinates of SVG pictures: the throughput of each step, and how far the documents of a run are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from edw.model.documents import ACQUIRING, HELD, RUN_COMPLETE
from edw.operating.status import RunStatus, StepStatus

HOURS = 12  # that the plot shows
BIN = 600  # seconds, one bar
HEIGHT = 64  # pixels, of the highest bar
BAR_GAP = 0.2  # percent of the width
TICK_HOURS = 2
NEW, PART, DONE, BAD, OTHER = 'new', 'part', 'done', 'bad', 'other'  # classes of the style sheet
LEGEND = {DONE: 'all steps done', PART: 'on the way', NEW: 'not begun', OTHER: 'held, or being written', BAD: 'failed'}

Counts = dict[str, list[tuple[float, int]]]


@dataclass(frozen=True)
class Bar:
    """One bar, and what it says of itself when pointed at.

    `x` and `width` are in percent of the picture's width, so that it is as wide as there is room; `y` and `height` in
    pixels.
    """

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Panel:
    """The plot of one step."""

    step: str
    total: int
    bars: list[Bar]


@dataclass(frozen=True)
class Plot:
    """All panels, each of `height` pixels, with the same time axis; `ticks` are (abscissa in percent, text)."""

    height: int
    highest: int  # count at the upper tick of every panel
    bin_minutes: int
    hours: int
    panels: list[Panel]
    ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class Segment:
    """Documents in one state; `start` and `width` in percent of the bar."""

    state: str
    count: int
    kind: str
    start: float
    width: float


def plot(counts: Counts, steps: list[str], now: float) -> Plot:
    """The plot of the last HOURS; `counts` are (minute in epoch seconds, documents) of each step."""
    end = (math.floor(now / BIN) + 1) * BIN
    start = end - 3600 * HOURS
    binned = {step: _binned(counts.get(step, []), start, end) for step in steps}
    highest = _nice(max((max(bins, default=0) for bins in binned.values()), default=0))
    share = 100 / round((end - start) / BIN)
    panels = []
    for step, bins in binned.items():
        bars = [
            Bar(
                round(number * share, 3),
                round(HEIGHT - HEIGHT * count / highest, 2),
                round(share - BAR_GAP, 3),
                round(HEIGHT * count / highest, 2),
                f'{_clock(start + number * BIN)}–{_clock(start + (number + 1) * BIN)}: {count}',
            )
            for number, count in enumerate(bins)
            if count
        ]
        panels.append(Panel(step, sum(bins), bars))
    ticks = [(round(100 * (at - start) / (end - start), 3), _clock(at)) for at in _full_hours(start, end)]
    return Plot(HEIGHT, highest, BIN // 60, HOURS, panels, ticks)


def file_steps(steps: list[StepStatus]) -> list[str]:
    """The names of those that files go through, without the steps of runs, in the same order."""
    of_runs = {RUN_COMPLETE}
    for step in steps:
        if step.after in of_runs:
            of_runs.add(step.name)
    return [step.name for step in steps if step.name not in of_runs]


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


def _binned(minutes: list[tuple[float, int]], start: float, end: float) -> list[int]:
    bins = [0] * round((end - start) / BIN)
    for minute, count in minutes:
        if start <= minute < end:
            bins[int((minute - start) // BIN)] += count
    return bins


def _nice(value: int) -> int:
    """The next number, upwards, that is even and has one digit that counts, or 25 or 15 as the first two."""
    power: int = 10 ** math.floor(math.log10(max(value, 2)))
    factors = (2, 4, 6, 8, 10) if power == 1 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    return next(round(factor * power) for factor in factors if factor * power >= value)


def _full_hours(start: float, end: float) -> list[float]:
    """Epoch seconds of every TICK_HOURS of the day, as this machine's clock shows it."""
    hour = datetime.fromtimestamp(start).astimezone().replace(minute=0, second=0, microsecond=0)
    hours = [hour + timedelta(hours=number) for number in range(HOURS + 2)]
    return [at.timestamp() for at in hours if at.hour % TICK_HOURS == 0 and start <= at.timestamp() <= end]


def _clock(epoch: float) -> str:
    return datetime.fromtimestamp(epoch).strftime('%H:%M')


def _kind(state: str, steps: list[str]) -> str:
    if state in steps:
        return DONE if state == steps[-1] else PART
    if state == NEW:
        return NEW
    return OTHER if state in (ACQUIRING, HELD) or not steps else BAD
