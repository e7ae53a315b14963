"""Running a callback on a document: whatever it returns or raises becomes an outcome."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from edw import logs, software
from edw.database import storable
from edw.errors import NO_ENTRY, StepError, TryLater, Unavailable, Unprocessable
from edw.model import documents
from edw.model.documents import Document
from edw.redact import redact

DEEPEST_ENTRY = 100  # levels of lists and dicts in an entry
MAX_ERROR_LENGTH = 1000  # characters of an error that go into a document
MAX_TRACEBACK = 4096  # bytes of the end of a traceback that do
HOSTNAME = socket.gethostname()

log = logging.getLogger(__name__)

Callback = Callable[[Document], dict[str, Any]]
When = Callable[[Document], Any]  # True: the step is for this document; else a text, the reason to skip it


@dataclass(frozen=True)
class Outcome:
    """What a callback made of a document: either `entry`, or `error` with whether another attempt is of use.

    `seconds` is what it took by a clock that nobody sets; `started` and `finished` are that far apart, in seconds since
    the epoch by the clock as it is at the end.
    """

    started: float
    finished: float
    seconds: float
    entry: dict[str, Any] | None = None
    error: str = ''
    kind: str = ''  # of the error, where it has one; else it is its type, as the error begins with
    final: bool = False
    away: str = ''  # which place is away, where it is no fault of the document
    hostname: str = HOSTNAME  # of the machine that it ran on
    traceback: str = ''  # the end of it, where the error was not expected
    software: dict[str, Any] | None = None  # that it ran with; None: nobody there has told


def run_callback(callback: Callback, doc: Document, packages: tuple[str, ...] = ()) -> Outcome:
    """Run the callback on a copy of the document; whatever it raises becomes an outcome.

    `packages` are those whose versions the outcome tells.
    """
    began = time.perf_counter()
    entry: dict[str, Any] | None = None
    error, kind, final, away, trace = '', '', False, '', ''
    try:
        with _named_in_log(doc['_id']):
            entry = checked_entry(callback(json.loads(json.dumps(doc))))
    # SystemExit too: a library that calls sys.exit would end this thread, and nobody would notice.
    except (Exception, SystemExit) as raised:
        expected = isinstance(raised, (StepError, Unavailable))
        log.log(logging.DEBUG if expected else logging.ERROR, '%s: the step raised', doc['_id'], exc_info=True)
        error, final = describe(raised), isinstance(raised, Unprocessable)
        kind = documents.kind_text(raised.kind) if isinstance(raised, StepError) else ''
        # A server that is away is no more a document's fault than a disk is.
        away = (shown(str(raised)) or error) if isinstance(raised, (TryLater, Unavailable)) else ''
        trace = '' if expected else end_of_traceback(raised)
    seconds, finished = time.perf_counter() - began, time.time()
    return Outcome(
        finished - seconds,
        finished,
        seconds,
        entry,
        error,
        kind,
        final,
        away,
        traceback=trace,
        software=software.here(packages),
    )


@contextlib.contextmanager
def _named_in_log(doc_id: str) -> Iterator[None]:
    token = logs.working_on.set(doc_id)
    try:
        yield
    finally:
        logs.working_on.reset(token)


def outcome_without_callback(when: When, doc: Document, packages: tuple[str, ...] = ()) -> Outcome | None:
    """What becomes of a document without the callback: it is skipped, or `when` raises; None where it is to run."""
    outcome = run_callback(partial(_entry_of_skipped, when), doc, packages)
    return None if outcome.entry == {} else outcome


def _entry_of_skipped(when: When, doc: Document) -> dict[str, Any]:
    answer = when(doc)
    if answer is True:
        return {}
    if isinstance(answer, str) and answer:
        return {'skipped': answer}
    raise StepError(f'`when` returned {answer!r}, neither True nor the reason to skip the document, a text')


def checked_entry(entry: Any) -> dict[str, Any]:
    """The entry, if it is a dict that the database can keep.

    Checked here, because one bad value (NaN, an array, half a surrogate pair) would make the server refuse
    a whole batch of results.
    """
    if not isinstance(entry, dict):
        raise StepError(f'the callback returned {type(entry).__name__}, not a dict for the process list', NO_ENTRY)
    try:
        checked: dict[str, Any] = json.loads(json.dumps(entry, allow_nan=False, ensure_ascii=False).encode('utf-8'))
    except (TypeError, ValueError, RecursionError) as error:
        raise StepError(f'the callback returned what JSON cannot hold: {error}', NO_ENTRY) from None
    if (fault := storable.fault(checked, DEEPEST_ENTRY)) is not None:
        raise StepError(f'the callback returned what no database can keep: {fault}', NO_ENTRY)
    return checked


def describe(error: BaseException) -> str:
    """Type and message of an error, without secrets, fit for a document."""
    return shown(f'{type(error).__name__}: {error}')


def end_of_traceback(error: BaseException) -> str:
    """The last MAX_TRACEBACK bytes of an error's traceback, without secrets and without the frame of this module."""
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    try:
        lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
    # Of errors that cannot be printed; what is recorded without it is more than nothing.
    except Exception as unprintable:
        return f'the traceback cannot be shown: {type(unprintable).__name__}'
    # Secrets first: what is cut through is found no more.
    kept = redact(''.join(lines)).strip().encode('utf-8', 'replace')[-MAX_TRACEBACK:]
    return kept.decode('utf-8', 'ignore')


def shown(text: str) -> str:
    """A text without secrets, fit for a document."""
    return redact(text)[:MAX_ERROR_LENGTH].encode('utf-8', 'replace').decode('utf-8')


def failed_outcome(words: str, began: float | None = None, hostname: str = HOSTNAME) -> Outcome:
    """The outcome of a callback that could not tell of it itself; it `began` at a monotonic time, or not at all."""
    seconds, finished = 0.0 if began is None else time.monotonic() - began, time.time()
    return Outcome(finished - seconds, finished, seconds, error=words, hostname=hostname)
