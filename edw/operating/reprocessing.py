"""Requeuing documents: failed ones as they are, others cut back so that steps are done again.

What a step recorded is never thrown away: failures stay as they are, and entries that are cut from `process` go to
the list `superseded` of the document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edw.database import design, views
from edw.database.client import Database, batches
from edw.errors import EdwError, NoSuchStep, SettingsError
from edw.model import documents
from edw.model.chain import meant
from edw.model.documents import ACQUIRING, GOOD, Document, entry_of, is_run
from edw.model.provenance import Made, can_be_compared, made_by
from edw.operating.display import number, safe

BATCH = 500  # documents in one request
MAX_EXAMPLES = 5  # documents whose changes are told
MAX_NAMES = 20  # in an error, of those that there are
VERSION, COMMIT = 2, 3  # places in a key of the view `entries`
NO_DOCUMENT = 'no such document'  # why a document is not selected

Change = Callable[[Document], Document]


def is_failed(doc: Document) -> bool:
    """Whether a document failed for good: its status is neither good nor that of a file that is being written.

    The map function of the view `failed` says the same in JavaScript.
    """
    return documents.is_failed_status(doc.get('status'))


def requeued(doc: Document) -> Document:
    """The document with the status good, if it failed: the step that failed is done again."""
    return {**doc, 'status': GOOD} if is_failed(doc) else doc


def cut_before(doc: Document, step: str, now: float, hostname: str) -> Document:
    """The document, requeued, and `cut_back`: that step and all behind it are done again.

    A document whose `process` is no list is returned as it is.
    """
    if not isinstance(doc.get('process'), list):
        return doc
    return documents.cut_back(requeued(doc), step, now, hostname)


@dataclass(frozen=True)
class Selection:
    """Which documents: those that meet every condition that is set.

    `id_range` is the first and the last id, inclusive; `step` and `kind` with `failed` mean failed in that step, with
    that kind of failure; `made` is the software that has made an entry.
    """

    ids: tuple[str, ...] = ()
    id_range: tuple[str, str] | None = None
    run: str | None = None
    status: str | None = None
    failed: bool = False
    step: str | None = None
    kind: str | None = None
    made: Made | None = None

    def __post_init__(self) -> None:
        named = self.ids or self.id_range or self.failed or self.made
        if not named and self.run is None and self.status is None:
            raise SettingsError(
                'say which documents: ids, --run RUN, --range FIRST LAST, --where-status TEXT, --failed [STEP], '
                'or, by what made them, --version-below, --commit or --before.'
            )
        if self.kind is not None and not self.failed:
            raise SettingsError(f'the kind {self.kind!r} selects nothing by itself: give --failed, too')
        if self.step is not None and not self.failed:
            raise SettingsError(f'step {self.step} selects nothing by itself, only what failed in it')

    @property
    def viewname(self) -> str | None:
        """Name of the view that holds the documents; None where their ids say it."""
        if self.ids or self.id_range:
            return None
        if self.run is not None:
            return views.RUNS
        if self.made is not None and not self.failed:
            return views.ENTRIES
        is_by_failure = self.status is None or self.step is not None or self.kind is not None
        return views.FAILED if is_by_failure else views.STATUS

    def misses(self, doc: Document) -> str | None:
        """Why a document is not selected; None where it is."""
        if self.id_range and not self.id_range[0] <= doc['_id'] <= self.id_range[1]:
            return f'is not between {self.id_range[0]} and {self.id_range[1]}'
        if self.run is not None and doc.get('run') != self.run:
            return f'is not of run {self.run}'
        if self.status is not None and doc.get('status') != self.status:
            return f'has not the status {self.status!r}'
        if self.failed and not is_failed(doc):
            return 'has not failed'
        if self.step is not None and documents.failed_step(doc) != self.step:
            return f'has not failed in {self.step}'
        if self.kind is not None and (found := documents.failure_kind(doc)) != self.kind:
            return f'has failed with {found!r}, not {self.kind!r}'
        return None if self.made is None else self.made.misses(doc)


def select_documents(
    database: Database, selection: Selection, on_missed: Callable[[str, str], object] | None = None
) -> Iterator[Document]:
    """The documents of a selection, BATCH at a time: only their ids are all in memory at once.

    The conditions are checked on each document itself, because a view's row can be older. `on_missed` is called
    with the id and the reason for each that does not meet them, or is not there any more.
    """
    for batch in batches(_ids(database, selection), BATCH):
        found = database.existing(batch)
        for doc_id in batch:
            doc = found.get(doc_id)
            reason = NO_DOCUMENT if doc is None else selection.misses(doc)
            if reason is None and doc is not None:
                yield doc
            elif on_missed is not None and reason is not None:
                on_missed(doc_id, reason)


def known(database: Database, selection: Selection) -> Selection:
    """The selection, where the server has what it asks by, and knows its step; which may be the id of a document, too.

    Raises NoDesign, NoSuchStep, and EdwError for a version that is none like those there: all or none would be older.
    """
    if selection.viewname is not None:
        design.check(database, views=(selection.viewname,))
    if selection.step is not None:
        try:
            design.check_step(database, selection.step)
        except NoSuchStep:
            if not database.existing([selection.step]):
                raise
            selection = replace(selection, ids=(selection.step, *selection.ids), step=None)
    made = selection.made
    if made is not None and made.version_below is not None:
        versions = _software(database, made, VERSION)
        if not can_be_compared(made.version_below, versions):
            raise EdwError(
                f'version {made.version_below!r} cannot be compared with those of {made.step}, which are numbers: '
                f'{_there(versions)}'
            )
    return selection


def check_names(database: Database, selection: Selection) -> None:
    """Raise EdwError where nothing is selected because a kind of failure, a run or a commit has another name."""
    if (kind := selection.kind) is not None:
        design.check(database, views=(views.FAILED,))
        kinds = sorted({views.text(found) for _, found in views.counts(database, views.FAILED, level=2)})
        if kind not in kinds:
            there = _there(kinds, '; ') + meant(kind, kinds)
            raise EdwError(f'nothing has failed with the kind {kind!r}; kinds that there are: {there}')
    if selection.run is not None:
        design.check(database, views=(views.RUNS,))
        views.ids_of_known_run(database, selection.run)
    if (made := selection.made) is not None and made.commit is not None:
        commits = _software(database, made, COMMIT)
        by_commit = replace(made, version_below=None)
        if not any(by_commit.is_by(None, commit) for commit in commits):
            wrong = f'nothing that {made.step} has left is by commit {made.commit}'
            raise EdwError(f'{wrong}; commits that there are: {_there(commits)}')


@dataclass
class Outcome:
    """What became of documents; ids, in `refused` with the reason."""

    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)  # they were as wanted already
    claimed: list[str] = field(default_factory=list)  # left alone, because a listener is at them
    conflicts: list[str] = field(default_factory=list)  # left alone, because somebody else changed them meanwhile
    refused: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether all are as wanted now."""
        return not (self.claimed or self.conflicts or self.refused)


def wanted(doc: Document, change: Change, force: bool, left: Outcome) -> Document | None:
    """The version of a document that is to be written. None where there is none: then `left` says why.

    With `force` a claim is removed: the result of the listener that holds it will be refused.
    """
    reason = _hindrance(doc)
    if reason is not None:
        left.refused.append(f'{doc["_id"]}: {reason}')
        return None
    is_claimed = doc.get('claim') is not None
    if is_claimed and not force:
        left.claimed.append(doc['_id'])
        return None
    version = change(documents.released(doc) if is_claimed else doc)
    if version == doc:
        left.unchanged.append(doc['_id'])
        return None
    return version


def requeue(
    database: Database,
    docs: Iterable[Document],
    change: Change,
    force: bool = False,
    on_batch: Callable[[int], object] | None = None,
) -> Outcome:
    """Change documents, BATCH a request, on the revisions that are given; `on_batch` is told how many were seen.

    `change` is `requeued`, or makes use of `cut_before`. Raises Unavailable where the server did not answer; then
    some of the last batch may have been written.
    """
    result = Outcome()
    for batch in batches(docs, BATCH):
        versions = [version for doc in batch if (version := wanted(doc, change, force, result)) is not None]
        rows = database.bulk_docs(versions) if versions else []
        for version, row in zip(versions, rows, strict=True):
            # A row with `accepted` missed the quorum of a cluster. It was written, and spreads by itself.
            if not row.get('error'):
                result.done.append(version['_id'])
            elif row['error'] == 'conflict':
                result.conflicts.append(version['_id'])
            else:
                result.refused.append(f'{version["_id"]}: {row.get("reason") or row["error"]}')
        if on_batch is not None:
            on_batch(len(batch))
    return result


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


def difference(before: Document, after: Document) -> str:
    """What is changed in a document, in words."""
    words = []
    if before.get('status') != after.get('status'):
        words.append(f'status {before["status"]!r} becomes {after["status"]!r}')
    cut = before['process'][len(after['process']) :]
    if cut:
        names = [str(entry.get('name')) if isinstance(entry, dict) else '?' for entry in cut]
        words.append(f'{", ".join(names)} cut from process')
    if 'claim' in before and 'claim' not in after:
        claim = before['claim']
        words.append(f'the claim of {claim.get("worker") if isinstance(claim, dict) else claim} removed')
    return '; '.join(words)


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


def _ids(database: Database, selection: Selection) -> list[str]:
    """Ids of the documents that may be selected.

    In one answer, because only CouchDB knows `startkey_docid`, without which a view cannot be read page by page
    while others write.
    """
    if selection.ids:
        return list(dict.fromkeys(selection.ids))
    if selection.id_range:
        first, last = selection.id_range
        rows = database.all_docs(startkey=first, endkey=last)
    else:
        if selection.viewname == views.ENTRIES and selection.made is not None:
            return _made(database, selection.made)
        assert selection.viewname is not None  # as of every selection with neither ids nor a range
        rows = views.rows(database, selection.viewname, reduce=False, **_key_range(selection))
    return [row['id'] for row in rows if not row['id'].startswith('_design/')]


def _made(database: Database, made: Made) -> list[str]:
    """Ids of the documents that may have such an entry.

    CouchDB cannot compare versions: of the few that there are the older ones are found first, then their documents.
    """
    ids: dict[str, None] = {}
    for group in software_of(database, made.step):
        if made.is_by(*group[2:]):
            found = views.rows(database, views.ENTRIES, reduce=False, key=list(group))
            ids.update(dict.fromkeys(row['id'] for row in found))
    if made.before is None:
        return list(ids)
    # An entry without a time has null there, which comes before all numbers.
    ends = {'startkey': [made.step], 'endkey': [made.step, made.before]}
    earlier = {row['id'] for row in views.rows(database, views.DONE, reduce=False, **ends)}
    return [doc_id for doc_id in ids if doc_id in earlier]


def software_of(database: Database, step: str) -> list[tuple[Any, ...]]:
    """Keys of the view `entries` of a step: the step before it, itself, and the version and the commit that made it."""
    return [key for key in views.counts(database, views.ENTRIES, level=4) if key[1] == step]


def _software(database: Database, made: Made, part: int) -> list[str]:
    """By which versions, or commits, the entries of a step are."""
    design.check(database, views=(views.DONE, views.ENTRIES))
    return sorted({key[part] for key in software_of(database, made.step) if isinstance(key[part], str)})


def _there(names: Sequence[str], separator: str = ', ') -> str:
    return separator.join(map(safe, names[:MAX_NAMES])) or 'none'


def _key_range(selection: Selection) -> dict[str, Any]:
    if selection.viewname == views.STATUS:
        return {'key': selection.status}
    if selection.viewname == views.RUNS:
        first = [selection.run]
    elif selection.step is None:
        return {}  # of all steps
    else:
        first = [selection.step] if selection.kind is None else [selection.step, selection.kind]
    return {'startkey': first, 'endkey': [*first, views.LAST]}


def _hindrance(doc: Document) -> str | None:
    """Why a document cannot be requeued, claimed or not; None where it can."""
    if doc['_id'].startswith('_design/'):
        return 'is a design document'
    if not isinstance(doc.get('status'), str):
        return 'its status is missing or no text; correct the document by hand'
    if doc['status'] == ACQUIRING:
        return 'its file is still being written (status acquiring)'
    if not isinstance(doc.get('process'), list):
        return 'its process is missing or no list; correct the document by hand'
    return None
