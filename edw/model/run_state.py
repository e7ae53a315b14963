"""What the document of a run says of it, for people. Pure, and defined for any JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edw.model.documents import (
    CLOSED,
    HELD,
    RUN_COMPLETE,
    Document,
    is_failed_status,
    is_run,
    is_skipped,
    last_step,
    number,
)

OPEN = 'open'  # state of a run without a document: files may still come
WORDS = {RUN_COMPLETE: 'complete', 'run_summary': 'summarised'}  # for steps that are done; of others their names


@dataclass(frozen=True)
class FoundLine:
    """What a step found out about a line. In keV but for the counts; None where it does not say."""

    detector: str
    energy: float
    fwhm: float | None
    fwhm_uncertainty: float | None
    counts: float | None
    counts_uncertainty: float | None


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    `state` is open, closed, held, a step that is done, or the status of a failure, which is_bad then. `said` has the
    log of each step, or why it was skipped, by its name. `baselines`: width of the baseline, measured and theoretical,
    by detector.
    """

    doc_id: str | None  # of its document; None where it has none
    state: str
    is_bad: bool
    working: str  # the step that is at it; empty: none
    said: list[tuple[str, str]]
    baselines: dict[str, tuple[float | None, float | None]]
    lines: list[FoundLine]

    @property
    def words(self) -> str:
        """The state in the words of people."""
        return self.state if self.is_bad else WORDS.get(self.state, self.state)


def state_of(doc: Document | None) -> RunState:
    """The state of a run by its document, None where there is none."""
    if doc is None or not is_run(doc):
        return RunState(None, OPEN, False, '', [], {}, [])
    status, claim = doc.get('status'), doc.get('claim')
    entries = _dicts(doc.get('process'))
    is_bad = is_failed_status(status)
    state = status if is_bad or status in (CLOSED, HELD) else last_step(doc) or CLOSED
    detectors = {
        name: found
        for entry in entries
        for name, found in (entry['detectors'].items() if isinstance(entry.get('detectors'), dict) else ())
        if isinstance(found, dict)
    }
    return RunState(
        doc['_id'],
        _text(state),
        is_bad,
        _text(claim.get('process')) if isinstance(claim, dict) else '',
        [(_text(entry.get('name')), _said(entry)) for entry in entries],
        {
            name: (number(found.get('baseline_fwhm')), number(found.get('theoretical_fwhm')))
            for name, found in detectors.items()
        },
        [line for name, found in detectors.items() for line in _lines(name, found.get('lines'))],
    )


def _said(entry: dict[str, Any]) -> str:
    return f'skipped: {_text(entry["skipped"])}' if is_skipped(entry) else _text(entry.get('log'))


def _lines(detector: str, lines: Any) -> Iterator[FoundLine]:
    for line in _dicts(lines):
        energy = number(line.get('energy'))
        if energy is not None:
            fields = ('fwhm', 'fwhm_uncertainty', 'counts', 'counts_uncertainty')
            yield FoundLine(detector, energy, *(number(line.get(field)) for field in fields))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ''
