"""One document's history, from all of its fields that hold a time. Pure, and defined for any JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edw.model import listeners
from edw.model.documents import is_skipped, number
from edw.redact import redact

MADE, DONE, FAILED, SUPERSEDED, REQUEUED, CLAIMED = 'made', 'done', 'failed', 'superseded', 'requeued', 'claimed'
SKIPPED, CHECKED, DELETED, FILE_DELETED = 'skipped', 'checked', 'original deleted', 'file deleted'

# Fields of an entry that are shown as what they are, or that each entry of a step may have; the others are its own.
USUAL = {'name', 'hostname', 'started', 'finished', 'software', 'job', 'pass', 'skipped', 'deleted'}
USUAL |= {'file', 'md5sum', 'more_files', 'log', 'parameters'}
LONGEST_VALUE = 40  # characters of a value that a step returned
MOST_VALUES = 12  # of an entry


@dataclass(frozen=True)
class Event:
    """Something that happened to a document.

    `what` is 'made', 'done' (an entry of `process`), 'skipped' (the same, of a step that did nothing), 'failed' (an
    attempt), 'superseded' (an entry that was cut since), 'requeued' (the cut itself, to before `step`), 'file deleted'
    (that of a superseded entry), 'checked' (its files, the last time), 'original deleted' or 'claimed' (now). `time` is
    in seconds since the epoch, of the end where something took time; `duration` in seconds; `software` what made it,
    `traceback` the end of one, `returned` the fields that only this step's entries have. None, or '', where the
    document does not tell.
    """

    time: float | None
    what: str
    step: str
    hostname: str
    duration: float | None
    file: str
    text: str
    software: str = ''
    traceback: str = ''
    returned: str = ''


def timeline(doc: Any) -> list[Event]:
    """The events of a document, in order of time, as far as clocks tell.

    What was recorded later in one list is later, also where a clock was set back in between, or where it has no time.

    Whatever is not of the usual form is passed over or shown as JSON. What is no document has no events.
    """
    if not isinstance(doc, dict):
        return []
    placed: list[tuple[float, Event]] = []
    entries = _entries(doc.get('process'), DONE)
    # What was cut before what is there now: of a run, both have the time at which it was complete anew.
    for record in (_made(doc), _superseded(doc), entries, _failures(doc), _checked(doc), _deleted(doc), _claim(doc)):
        last = -math.inf
        for event in record:
            last = last if event.time is None else max(last, event.time)
            placed.append((last, event))
    # A claim is the last thing that happened, whatever its time, and that a document was made the first.
    order = {MADE: 0, CLAIMED: 2}
    return [event for _, event in sorted(placed, key=lambda place: (order.get(place[1].what, 1), place[0]))]


def _made(doc: dict[str, Any]) -> Iterator[Event]:
    run = f'run {_text(doc["run"])}' if doc.get('run') is not None else ''
    yield Event(number(doc.get('datecreated')), MADE, '', '', None, _text(doc.get('original_file')), run)


def _entries(entries: Any, what: str) -> Iterator[Event]:
    for entry in _list(entries):
        if not isinstance(entry, dict):
            yield Event(None, what, '', '', None, '', _text(entry))
            continue
        started, finished = number(entry.get('started')), number(entry.get('finished'))
        duration = number(finished - started) if started is not None and finished is not None else None
        log, skipped = _text(entry.get('log')), _text(entry.get('skipped')) if is_skipped(entry) else ''
        if skipped:
            log = skipped if what == DONE else f'skipped: {skipped}'
        passed = f'pass {_text(entry["pass"])}' if entry.get('pass') is not None else ''
        text = ': '.join(filter(None, (passed, log)))
        if duration is not None and duration < 0:
            duration, text = None, f'{text}  (its clock was set back meanwhile)'.strip()
        yield Event(
            finished,
            SKIPPED if skipped and what == DONE else what,
            _text(entry.get('name')),
            _text(entry.get('hostname')),
            duration,
            _text(entry.get('file')),
            text,
            _software(entry.get('software')),
            returned=_returned(entry),
        )


def _returned(entry: dict[str, Any]) -> str:
    """`bytes=24601, quiet=true`: what a step returned besides the usual fields, long values cut."""
    own = [(name, value) for name, value in entry.items() if name not in USUAL]
    shown = [f'{_cut(_text(name))}={_cut(_value(value))}' for name, value in own[:MOST_VALUES]]
    return ', '.join([*shown, *['…'] * (len(own) > MOST_VALUES)])


def _value(value: Any) -> str:
    return _text(value) or json.dumps(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f'{text[: LONGEST_VALUE - 1]}…'


def _failures(doc: dict[str, Any]) -> Iterator[Event]:
    for failure in _list(doc.get('failures')):
        if not isinstance(failure, dict):
            yield Event(None, FAILED, '', '', None, '', _text(failure))
            continue
        attempt = f'attempt {_text(failure["attempt"])}: ' if failure.get('attempt') is not None else ''
        text = attempt + _text(failure.get('error'))
        step, hostname = _text(failure.get('process')), _text(failure.get('hostname'))
        made_by, traceback = _software(failure.get('software')), _text(failure.get('traceback'))
        yield Event(number(failure.get('time')), FAILED, step, hostname, None, '', text, made_by, traceback)


def _superseded(doc: dict[str, Any]) -> Iterator[Event]:
    for cut in _list(doc.get('superseded')):
        if not isinstance(cut, dict):
            yield Event(None, REQUEUED, '', '', None, '', _text(cut))
            continue
        entries = list(_entries(cut.get('entries'), SUPERSEDED))
        yield from entries
        yield from _files_deleted(cut.get('entries'))
        text = f'{len(entries)} {"entry" if len(entries) == 1 else "entries"} superseded'
        step, hostname = _text(cut.get('from')), _text(cut.get('hostname'))
        yield Event(number(cut.get('time')), REQUEUED, step, hostname, None, '', text)


def _files_deleted(entries: Any) -> Iterator[Event]:
    for entry in _list(entries):
        deleted = entry.get('deleted') if isinstance(entry, dict) else None
        if isinstance(deleted, dict):
            step, hostname = _text(entry.get('name')), _text(deleted.get('hostname'))
            yield Event(number(deleted.get('time')), FILE_DELETED, step, hostname, None, _text(entry.get('file')), '')


def _checked(doc: dict[str, Any]) -> Iterator[Event]:
    checked = doc.get('checked')
    if not isinstance(checked, dict):
        return
    wrong = [
        f'{_text(found.get("file"))} {_text(found.get("text"))}'
        for found in _list(checked.get('wrong'))
        if isinstance(found, dict)
    ]
    how = ', every byte read' if checked.get('md5') is True else ''
    text = '; '.join([_text(checked.get('result')) + how, *wrong])
    yield Event(number(checked.get('time')), CHECKED, '', _text(checked.get('hostname')), None, '', text)


def _deleted(doc: dict[str, Any]) -> Iterator[Event]:
    deleted = doc.get('original_deleted')
    if not isinstance(deleted, dict):
        return
    text = f'verified: {", ".join(map(_text, _list(deleted.get("copies"))))}'
    file, hostname = _text(doc.get('original_file')), _text(deleted.get('hostname'))
    yield Event(number(deleted.get('time')), DELETED, '', hostname, None, file, text)


def _claim(doc: dict[str, Any]) -> Iterator[Event]:
    claim = doc.get('claim')
    if claim is None:
        return
    if not isinstance(claim, dict):
        yield Event(None, CLAIMED, '', '', None, '', _text(claim))
        return
    name = _text(claim.get('worker'))
    hostname = listeners.hostname(name)
    yield Event(number(claim.get('since')), CLAIMED, _text(claim.get('process')), hostname, None, '', name)


def raised_at(traceback: str) -> str:
    """Where the error of a traceback was raised: its last frame, on one line; '' where it has none."""
    _, frame, rest = traceback.rpartition('  File "')
    lines = [] if not frame else f'File "{rest}'.splitlines()
    # What is not indented is the error itself, and a line of marks points into the one before it.
    frame_lines = [line.strip() for line in lines[:1] + [line for line in lines[1:2] if line.startswith('    ')]]
    return ' '.join(frame_lines)


def _software(value: Any) -> str:
    """`edw 2.1.0 (5b0f5b6+), step 1, python 3.11.2, numpy 2.2.1`, as far as it says so."""
    if not isinstance(value, dict):
        return _text(value)
    packages = value.get('packages')
    commit = f' ({_text(value["commit"])})' if value.get('commit') is not None else ''
    parts = [f'edw {_text(value["edw"])}{commit}'] if value.get('edw') is not None else []
    parts += [f'{name} {_text(value[name])}' for name in ('step', 'python') if value.get(name) is not None]
    if isinstance(packages, dict):
        parts += [f'{_text(name)} {_text(version)}' for name, version in packages.items()]
    return ', '.join(parts)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    """Redacted: documents of others may hold what ours never do."""
    return '' if value is None else redact(value if isinstance(value, str) else json.dumps(value))
