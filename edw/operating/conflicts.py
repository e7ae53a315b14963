"""Documents in conflict: what their versions differ in, side by side, and how to keep one of them.

Nobody but people can choose: each version may hold results that no other one has.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from edw.claiming.cluster import order
from edw.database import views
from edw.database.client import Database
from edw.model import documents, timeline
from edw.model.documents import Document
from edw.operating.display import moment
from edw.redact import redact

NAMED = 100  # documents that are read at most
LONGEST = 300  # characters of a field that differs
NOTHING = '-'
OF_REVISIONS = ('_id', '_rev', '_revisions')
TOLD_APART = ('process', 'failures', 'claim', 'status')  # fields with rows of their own


@dataclass(frozen=True)
class Conflict:
    """A document with several versions, the first of which is the one that readers see and listeners process.

    `rows` has a name and a text for each version: status, last step and last event in any case, and all that differs.
    `deletions` has for each version the command that deletes it, without a password.
    """

    doc_id: str
    revisions: list[str]
    rows: list[tuple[str, list[str]]]
    deletions: list[str]


def conflicts(database: Database) -> list[Conflict]:
    """The first NAMED documents that are in conflict."""
    ids = [row['id'] for row in views.rows(database, views.CONFLICTS, reduce=False, limit=NAMED)]
    return [found for doc_id in ids if (found := conflict(database, doc_id)) is not None]


def conflict(database: Database, doc_id: str) -> Conflict | None:
    """The conflict of one document; None where it has none, or none any more."""
    leaves = sorted(database.leaves(doc_id), key=lambda leaf: order(leaf['_rev']), reverse=True)
    if len(leaves) < 2:
        return None
    revisions = [leaf['_rev'] for leaf in leaves]
    login = f'-u {shlex.quote(database.settings.username)} ' if database.settings.username else ''
    url = f'{redact(database.url)}/{quote(doc_id.encode("utf-8", "replace"), safe="")}'
    deletions = [f'curl {login}-X DELETE {shlex.quote(f"{url}?rev={revision}")}' for revision in revisions]
    return Conflict(doc_id, revisions, compared(leaves), deletions)


def compared(versions: list[Document]) -> list[tuple[str, list[str]]]:
    """What versions of a document differ in: a name, and a text for each; secrets are hidden."""
    rows = [
        ('status', [_text(doc.get('status')) for doc in versions]),
        ('last step', [_text(documents.last_step(doc) or None) for doc in versions]),
        ('last event', [_last_event(doc) for doc in versions]),
    ]
    differing = [('claim', [_text(doc.get('claim')) for doc in versions])]
    for field, name in (('process', 'process'), ('failures', 'failure')):
        lists = [value if isinstance(value := doc.get(field), list) else [value] for doc in versions]
        for index in range(max(map(len, lists))):
            texts = [_text(entries[index]) if index < len(entries) else NOTHING for entries in lists]
            differing.append((f'{name} {index + 1}', texts))
    others = {field for doc in versions for field in doc if field not in (*OF_REVISIONS, *TOLD_APART)}
    differing += [(redact(field), [_text(doc.get(field)) for doc in versions]) for field in sorted(others)]
    return [*rows, *((name, _shortened(texts)) for name, texts in differing if len(set(texts)) > 1)]


def _last_event(doc: Document) -> str:
    """What happened last to this version, where, and when, by the clock of that machine."""
    timed = [event for event in timeline.timeline(doc) if event.time is not None]
    if not timed:
        return NOTHING
    last = timed[-1]
    where = f'on {last.hostname}' if last.hostname else ''
    return ' '.join(filter(None, (moment(last.time), last.what, last.step, where)))


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    return redact(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))


def _shortened(texts: list[str]) -> list[str]:
    return [text if len(text) <= LONGEST else f'{text[: LONGEST - 1]}…' for text in texts]
