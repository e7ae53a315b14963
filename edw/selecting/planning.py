"""What would be done again, for people to look at; and then exactly that, as it was looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edw.database.client import Database
from edw.errors import EdwError
from edw.model import documents
from edw.model.documents import Document, entry_of, is_run
from edw.model.provenance import made_by
from edw.operating.display import number
from edw.operating.reprocessing import Change, Outcome, difference, requeue, wanted
from edw.selecting.selection import NO_DOCUMENT, Selection, select_documents

MAX_EXAMPLES = 5  # documents whose changes are told


@dataclass
class Plan:
    """What would be changed: the revision of each document by its id, and what to show of it."""

    revisions: dict[str, str] = field(default_factory=dict)
    groups: Counter[tuple[str, str]] = field(default_factory=Counter)  # by run and status
    examples: list[str] = field(default_factory=list)
    superseded: set[str] = field(default_factory=set)  # steps whose entries were cut from them before
    made: Counter[str] = field(default_factory=Counter)  # by what has made the entry that is asked for
    left: Outcome = field(default_factory=Outcome)
    missing: list[str] = field(default_factory=list)  # ids that were named, and do not exist
    missed: list[str] = field(default_factory=list)  # documents that were named, and do not meet the conditions


def plan(
    database: Database, selection: Selection, change: Change, force: bool, on_document: Callable[[], object]
) -> Plan:
    """Find out what would be changed. Only ids and revisions are kept of all documents."""
    found = Plan()

    def note_missed(doc_id: str, reason: str) -> None:
        if selection.ids:
            is_there = reason != NO_DOCUMENT
            (found.missed if is_there else found.missing).append(f'{doc_id} {reason}' if is_there else doc_id)

    for doc in select_documents(database, selection, note_missed):
        on_document()
        if is_run(doc) and not selection.ids and change(doc) == doc:
            continue  # whoever asks for files by their ids or status does not mean it
        found.superseded.update(str(entry.get('name')) for entry in documents.superseded_entries(doc))
        version = wanted(doc, change, force, found.left)
        if version is None:
            continue
        found.revisions[doc['_id']] = doc['_rev']
        found.groups[str(doc.get('run', doc['_id'] if is_run(doc) else '-')), doc['status']] += 1
        if selection.made is not None:
            found.made[made_by(entry_of(doc, selection.made.step))] += 1
        if len(found.examples) < MAX_EXAMPLES:
            found.examples.append(f'{doc["_id"]}: {difference(doc, version)}')
    return found


def write(database: Database, plan: Plan, change: Change, force: bool, on_batch: Callable[[int], object]) -> Outcome:
    """Change what is planned, as it was looked at: a document that was changed since then is left alone.

    Raises EdwError, which says how many were gone through before that.
    """
    deleted: list[str] = []
    gone_through = 0

    def as_planned() -> Iterator[Document]:
        now = Selection(ids=tuple(plan.revisions))
        for doc in select_documents(database, now, lambda doc_id, _: deleted.append(doc_id)):
            # On the revision that was looked at: the server refuses what would undo somebody else's change.
            yield {**doc, '_rev': plan.revisions[doc['_id']]}

    def count(size: int) -> None:
        nonlocal gone_through
        gone_through += size
        on_batch(size)

    try:
        result = requeue(database, as_planned(), change, force, count)
    except EdwError as error:
        raise EdwError(
            f'{error}\n{gone_through} of {number(len(plan.revisions), "document")} were gone through before that. '
            'Run the same again for the others.'
        ) from None
    result.conflicts += deleted
    return result
