"""Which documents are to be done again: by ids, run, status, failure, or the software that made an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edw.database import design, views
from edw.database.client import Database, batches
from edw.errors import EdwError, NoSuchStep, SettingsError
from edw.model import documents
from edw.model.chain import meant
from edw.model.documents import Document
from edw.model.provenance import Made, can_be_compared
from edw.operating.display import safe
from edw.operating.reprocessing import BATCH, is_failed

MAX_NAMES = 20  # in an error, of those that there are
VERSION, COMMIT = 2, 3  # places in a key of the view `entries`
NO_DOCUMENT = 'no such document'  # why a document is not selected


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
