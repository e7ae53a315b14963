"""What people say of documents: hold and release, comments, tags, quality; each with who and when.

A held document has the status `held`: listeners leave everything alone that is not good, the original's too. Its status
of before is kept in the field `hold`, and comes back when it is released.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from edw.database import views
from edw.database.client import Database, batches
from edw.errors import EdwError, SettingsError
from edw.model.documents import ACQUIRING, GOOD, HELD, Document, listed, number
from edw.operating.reprocessing import Outcome

BATCH = 500  # documents in one request
QUALITIES = ('good', 'bad', 'unknown')
MOST_TRIES = 10  # of a document that somebody else changes at the same time, as a listener does
LONGEST_TEXT = 10_000  # characters of a comment or a reason

Change = Callable[[Document], Document]


@dataclass(frozen=True)
class Said:
    """Who says something, and when, in seconds since the epoch."""

    by: str
    time: float

    def record(self, **what: str) -> dict[str, Any]:
        """What stands in the document."""
        return {**what, 'by': self.by, 'time': self.time}


def hold(doc: Document, reason: str, said: Said) -> Document:
    """The document, held. One that is held already stays as it is; what is not a text in `status` is kept, too."""
    if doc.get('status') in (HELD, ACQUIRING):
        return doc
    kept = {'status': doc['status']} if 'status' in doc else {}
    return {**doc, 'status': HELD, 'hold': said.record(reason=reason) | kept}


def release(doc: Document) -> Document:
    """The document as it was before it was held; good where that is not known."""
    if doc.get('status') != HELD:
        return doc
    kept = doc.get('hold')
    status = kept.get('status', GOOD) if isinstance(kept, dict) else GOOD
    return {name: value for name, value in doc.items() if name != 'hold'} | {'status': status}


def comment(doc: Document, text: str, said: Said) -> Document:
    """The document with one more comment."""
    return {**doc, 'comments': [*listed(doc, 'comments'), said.record(text=text)]}


def tag(doc: Document, name: str, said: Said) -> Document:
    """The document with a tag, which it has once."""
    tags = listed(doc, 'tags')
    return doc if any(_is_named(one, name) for one in tags) else {**doc, 'tags': [*tags, said.record(name=name)]}


def untag(doc: Document, name: str) -> Document:
    """The document without a tag."""
    tags = listed(doc, 'tags')
    left = [one for one in tags if not _is_named(one, name)]
    return doc if len(left) == len(tags) else {**doc, 'tags': left}


def rate(doc: Document, quality: str, said: Said) -> Document:
    """The document with what somebody thinks of its quality."""
    before = doc.get('quality')
    if isinstance(before, dict) and before.get('value') == quality:
        return doc
    return {**doc, 'quality': said.record(value=quality)}


def prioritise(doc: Document, priority: float) -> Document:
    """The document with its priority, by which a listener may take it; 0 is that of all others."""
    if priority == 0:
        return {name: value for name, value in doc.items() if name != 'priority'}
    return {**doc, 'priority': priority}


def changes(
    said: Said,
    *,
    reason: str | None = None,
    is_released: bool = False,
    text: str | None = None,
    tags: Sequence[str] = (),
    without: Sequence[str] = (),
    quality: str | None = None,
    priority: float | None = None,
) -> Change:
    """One change of all that is asked for: `reason` holds, `text` comments. Raises SettingsError where nothing is."""
    texts = [(reason, 'a reason'), (text, 'a comment'), *((name, 'a tag') for name in tags)]
    for given, what in texts:
        if given is not None and not 0 < len(given.strip()) <= LONGEST_TEXT:
            raise SettingsError(f'{what} has 1 to {LONGEST_TEXT} characters')
    if quality is not None and quality not in QUALITIES:
        raise SettingsError(f'{quality!r} is no quality; say one of: {", ".join(QUALITIES)}')
    wanted: list[Change] = []
    if reason is not None:
        wanted.append(partial(hold, reason=reason, said=said))
    if is_released:
        wanted.append(release)
    if text is not None:
        wanted.append(partial(comment, text=text, said=said))
    wanted += [partial(tag, name=name, said=said) for name in tags]
    wanted += [partial(untag, name=name) for name in without]
    if quality is not None:
        wanted.append(partial(rate, quality=quality, said=said))
    if priority is not None:
        wanted.append(partial(prioritise, priority=priority))
    if not wanted:
        raise SettingsError(
            'say what to write: --hold REASON, --release, --comment, --tag, --untag, --quality or --priority.'
        )

    def change(doc: Document) -> Document:
        for one in wanted:
            doc = one(doc)
        return doc

    return change


def ids_of(database: Database, names: Iterable[str]) -> list[str]:
    """Ids of documents, given as such or as the names of their runs. Raises EdwError for a name that is neither."""
    ids: dict[str, None] = {}
    for name in names:
        found = views.ids_of_run(database, name)
        if not name.startswith('_') and name in database.existing([name]):
            found.append(name)
        if not found:
            raise EdwError(f'{database.url} has no document and no run {name!r}')
        ids.update(dict.fromkeys(sorted(found)))
    return list(ids)


def annotate(database: Database, ids: Iterable[str], change: Change) -> Outcome:
    """Change documents, claimed ones too: what a listener writes of them is put on the newest revision.

    One that somebody else has changed meanwhile is read again.
    """
    outcome = Outcome()
    for batch in batches(ids, BATCH):
        left = batch
        for _ in range(MOST_TRIES):
            left = _write(database, left, change, outcome)
            if not left:
                break
        outcome.conflicts += left
    return outcome


def _write(database: Database, ids: list[str], change: Change, outcome: Outcome) -> list[str]:
    """Change documents once; returns the ids of those that somebody else changed meanwhile."""
    present = database.existing(ids)
    outcome.refused += [f'{doc_id}: there is no such document' for doc_id in ids if doc_id not in present]
    versions = [(doc, change(doc)) for doc in present.values()]
    outcome.unchanged += [doc['_id'] for doc, version in versions if version == doc]
    new = [version for doc, version in versions if version != doc]
    again = []
    for version, row in zip(new, database.bulk_docs(new) if new else [], strict=True):
        if not row.get('error'):
            outcome.done.append(version['_id'])
        elif row['error'] == 'conflict':
            again.append(version['_id'])
        else:
            outcome.refused.append(f'{version["_id"]}: {row.get("reason") or row["error"]}')
    return again


def _is_named(one: Any, name: str) -> bool:
    return one == name or (isinstance(one, dict) and one.get('name') == name)


@dataclass(frozen=True)
class Notes:
    """What was said of some documents: how often each tag, quality and reason to hold; comments, oldest first.

    A comment that was written to a whole run counts once.
    """

    tags: dict[str, int]
    qualities: dict[str, int]
    holds: dict[str, int]
    comments: list[tuple[float | None, str, str]]  # time, by, text


def notes(docs: Iterable[Document]) -> Notes:
    """What was said of documents. Whatever others wrote into these fields is passed over."""
    tags: Counter[str] = Counter()
    qualities: Counter[str] = Counter()
    holds: Counter[str] = Counter()
    comments: dict[tuple[float | None, str, str], None] = {}
    for doc in docs:
        tags.update(tags_of(doc))
        if (quality := quality_of(doc)) is not None:
            qualities[quality] += 1
        if doc.get('status') == HELD:
            holds[_text(doc.get('hold'), 'reason')] += 1
        said = [one for one in listed(doc, 'comments') if isinstance(one, dict)]
        comments |= {(number(one.get('time')), _text(one, 'by'), _text(one, 'text')): None for one in said}
    in_order = sorted(comments, key=lambda one: (one[0] is not None, one[0] or 0.0))
    return Notes(dict(tags), dict(qualities), dict(holds), in_order)


def tags_of(doc: Document) -> list[str]:
    """Names of a document's tags."""
    named = [one.get('name') if isinstance(one, dict) else one for one in listed(doc, 'tags')]
    return [name for name in named if isinstance(name, str)]


def quality_of(doc: Document) -> str | None:
    """What somebody said of a document's quality; None where nobody did."""
    quality = doc.get('quality')
    value = quality.get('value') if isinstance(quality, dict) else quality
    return value if isinstance(value, str) else None


def _text(said: Any, name: str) -> str:
    value = said.get(name) if isinstance(said, dict) else None
    return value if isinstance(value, str) else ''
