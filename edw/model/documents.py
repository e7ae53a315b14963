"""What the fields of a document mean. Pure functions: each returns a new document."""

from __future__ import annotations

import math
from typing import Any

Document = dict[str, Any]

GOOD = 'good'
ACQUIRING = 'acquiring'  # status of the document that holds a run's name while its files are being written
HELD = 'held'  # status of a document that somebody holds back; the one of before stands in `hold`
CLOSED = 'closed'  # status of the document of a run until the run is complete
RUN = 'run'  # type of the document of a run
RUN_COMPLETE = 'run_complete'  # name of its first entry; steps of runs come after it, and no step of files does
LONGEST_KIND = 60  # characters of the kind of a failure
LONGEST_CHAIN = 16  # steps up to which the selector is exact


def last_step(doc: Document) -> str | int | None:
    """Name of the last step, 0 where nothing has been done yet, None where it cannot be told.

    The map function of the view `lastproc` says the same in JavaScript.
    """
    process = doc.get('process')
    if not isinstance(process, list):
        return None
    if not process:
        return 0
    name = process[-1].get('name') if isinstance(process[-1], dict) else None
    return name if isinstance(name, str) else None


def waiting_since(doc: Document) -> float | None:
    """Seconds since the epoch at which a document came to wait for its next step, None where it does not say.

    The map function of the view `queue` says the same in JavaScript.
    """
    process = doc.get('process')
    if not isinstance(process, list):
        return None
    if not process:
        times: list[Any] = [doc.get('datecreated')]
    else:
        times = [process[-1].get('finished') if isinstance(process[-1], dict) else None]
    # One that failed, or was cut, and was requeued after that.
    for records in (doc.get('failures'), doc.get('superseded')):
        if isinstance(records, list) and records and isinstance(records[-1], dict):
            times.append(records[-1].get('time'))
    return max((found for time in times if (found := number(time)) is not None), default=None)


def number(value: Any) -> float | None:
    """A number of a document or an answer, as one to reckon with; None for what is none, or is beyond all floats."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def is_failed_status(status: Any) -> bool:
    """Whether a status is that of a document that a step failed on for good, as the view `failed` has it."""
    return isinstance(status, str) and status not in (GOOD, ACQUIRING, HELD, CLOSED)


def is_run(doc: Document) -> bool:
    """Whether a document is that of a run, and not of a file."""
    return doc.get('type') == RUN


def is_free(doc: Document | None, after: str | int) -> bool:
    """Whether a document waits for the step that comes after step `after`."""
    if doc is None or doc.get('_deleted') or doc.get('status') != GOOD or doc.get('claim') is not None:
        return False
    last = last_step(doc)
    return last == after and type(last) is type(after)


def free_selector(after: str | int) -> dict[str, Any]:
    """The same condition as a Mango selector, for the `_selector` filter of `_changes`.

    Mango knows no last element of a list, so that each length has an alternative of its own. Of chains longer than
    LONGEST_CHAIN all pass that have the step somewhere, and `is_free` decides.

    CouchDB asks this of every change, and most fields that it looks up cost it a switch to another process: what tells
    most changes apart comes first, and no length is looked at that the list is too short for.
    """
    unclaimed = {'$or': [{'claim': {'$exists': False}}, {'claim': {'$type': 'null'}}]}
    if after == 0:
        return {'$and': [{'process': {'$size': 0}}, unclaimed, {'status': GOOD}]}
    ends_with: dict[str, Any] = {'process': {'$elemMatch': {'name': after}}}
    for length in range(LONGEST_CHAIN, 0, -1):
        is_last = {'$and': [{'process': {'$size': length}}, {f'process.{length - 1}.name': after}]}
        is_longer = {'$and': [{f'process.{length}': {'$exists': True}}, ends_with]}
        ends_with = {'$or': [is_last, is_longer]}
    return {'$and': [{'process.0': {'$exists': True}}, unclaimed, ends_with, {'status': GOOD}]}


def claimed(doc: Document, step: str, listener: str, since: float, job: str = '') -> Document:
    """The document with a claim on it, made at the time `since`, in seconds since the epoch, in a batch job or none."""
    claim = {'process': step, 'worker': listener, 'since': since}
    return {**doc, 'claim': {**claim, 'job': job} if job else claim}


def released(doc: Document) -> Document:
    """The document without its claim."""
    return {field: value for field, value in doc.items() if field != 'claim'}


def with_entry(doc: Document, entry: dict[str, Any]) -> Document:
    """The document, released, with the result of a step."""
    return {**released(doc), 'process': [*doc['process'], entry]}


def with_failure(doc: Document, failure: dict[str, Any]) -> Document:
    """The document, still claimed, with one more failed attempt."""
    return {**doc, 'failures': [*listed(doc, 'failures'), failure]}


def failed_for_good(doc: Document, status: str) -> Document:
    """The document, released, with a status that says which step failed.

    A status that somebody set while the step ran stays.
    """
    return {**released(doc), 'status': status} if doc.get('status') == GOOD else released(doc)


def next_attempt(doc: Document, step: str, attempts: int) -> int:
    """Number of the attempt that a step is about to make, from 1.

    A document that was requeued after its last attempt failed begins anew. One that failed for good earlier,
    because trying again was useless, goes on counting.
    """
    for failure in reversed(listed(doc, 'failures')):
        if isinstance(failure, dict) and failure.get('process') == step:
            attempt = failure.get('attempt')
            return attempt + 1 if type(attempt) is int and 0 < attempt < attempts else 1
    return 1


def last_failure(doc: Document) -> dict[str, Any] | None:
    """The last failure of a document that tells of its step; None where there is none."""
    failures = doc.get('failures')
    last = failures[-1] if isinstance(failures, list) and failures else None
    return last if isinstance(last, dict) and isinstance(last.get('process'), str) else None


def failed_step(doc: Document) -> str | None:
    """Name of the step that a failed document failed in; None where it holds no failure that tells."""
    last = last_failure(doc)
    return None if last is None else last['process']


def failure_kind(doc: Document) -> str:
    """By what a failed document is grouped with others: the `kind` of its last failure, or the type of its error.

    One without a failure has its status. The map function of the view `failed` says the same in JavaScript.
    """
    last = last_failure(doc)
    if last is None:
        return str(doc.get('status'))
    return failure_kind_of(last)


def failure_kind_of(failure: dict[str, Any]) -> str:
    """The kind of a failure: its own, or what stands before the colon of its error, which is the error's type."""
    kind, error = failure.get('kind'), failure.get('error')
    if isinstance(kind, str) and kind:
        return kind
    text = error if isinstance(error, str) else ''
    before, colon, _ = text.partition(': ')
    return before if colon and before else text[:LONGEST_KIND]


def kind_text(kind: object) -> str:
    """A kind as it goes into a failure: on one line, and LONGEST_KIND characters at most."""
    return ' '.join(str(kind).encode('utf-8', 'replace').decode().split())[:LONGEST_KIND]


def entry_of(doc: Document, step: str) -> dict[str, Any] | None:
    """The last entry of a step; None where there is none."""
    return next((entry for entry in reversed(_entries(doc)) if entry.get('name') == step), None)


def is_skipped(entry: dict[str, Any]) -> bool:
    """Whether a step did nothing on the document, because it was none for it: `skipped` says why."""
    return bool(entry.get('skipped'))


def entry_with_file(doc: Document) -> dict[str, Any] | None:
    """The last entry that names a file, whichever step it is of: that of the step before may have been skipped."""
    entries = reversed(_entries(doc))
    return next((entry for entry in entries if isinstance(entry.get('file'), str) and entry['file']), None)


def entry_that_left(doc: Document, step: str | None) -> dict[str, Any] | None:
    """The entry of the file that a step left; without a step, of the last file. None where the step was skipped."""
    if step is None:
        return entry_with_file(doc)
    entry = entry_of(doc, step)
    return None if entry is None or is_skipped(entry) else entry


def cut_back(doc: Document, step: str, now: float, hostname: str) -> Document:
    """The document with `process` cut back to before the first entry of a step, whatever its status.

    The cut entries go to the list `superseded`, with `now` (seconds since the epoch) and the `hostname`. A document
    without such an entry, or whose `process` is no list, is returned as it is.
    """
    process = doc.get('process')
    names = [entry.get('name') if isinstance(entry, dict) else None for entry in listed(doc, 'process')]
    if not isinstance(process, list) or step not in names:
        return doc
    first = names.index(step)
    cut = {'time': now, 'hostname': hostname, 'from': step, 'entries': process[first:]}
    return {**doc, 'process': process[:first], 'superseded': [*listed(doc, 'superseded'), cut]}


def superseded_entries(doc: Document) -> list[dict[str, Any]]:
    """The entries that were cut from `process`, oldest first."""
    superseded = doc.get('superseded')
    cuts = [cut.get('entries') for cut in superseded if isinstance(cut, dict)] if isinstance(superseded, list) else []
    return [entry for cut in cuts if isinstance(cut, list) for entry in cut if isinstance(entry, dict)]


def pass_of(doc: Document, step: str, md5sum: Any = None) -> int:
    """Number of the pass that a step is about to make, from 1: one more than its entries that were superseded.

    Where the md5 of what it would write is known before, as with a copy, give it: then the number is that of the first
    pass that has left the same, which needs not be written again. Entries of the original scripts have no md5, and are
    taken to have this one; where the step was skipped, it has left nothing.
    """
    before = [entry for entry in superseded_entries(doc) if entry.get('name') == step]
    left = ((number, entry) for number, entry in enumerate(before, 1) if not is_skipped(entry))
    same = (number for number, entry in left if entry.get('md5sum') in (None, md5sum))
    return next(same, len(before) + 1) if md5sum is not None else len(before) + 1


def listed(doc: Document, field: str) -> list[Any]:
    """A field that is a list; of what somebody else wrote there, a list with that."""
    found = doc.get(field, [])
    return found if isinstance(found, list) else [found]


def _entries(doc: Document) -> list[dict[str, Any]]:
    process = doc.get('process')
    return [entry for entry in process if isinstance(entry, dict)] if isinstance(process, list) else []
