"""A database in memory with CouchDB's rule for revisions, for unit tests. It stands for one node, or for a cluster."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from edw import config
from edw.errors import NotFound, Unavailable
from edw.model.documents import Document

SETTINGS = dataclasses.replace(config.load(), heartbeat=10.0, lease=30.0, attempts=3, retry_pause=2.0)


class MemoryDatabase:
    """Documents by id; a write is taken on the newest revision alone."""

    def __init__(self, *docs: Document, nodes: int = 1) -> None:
        self.settings = SETTINGS
        self.docs: dict[str, Document] = {}
        self.requests: list[str] = []
        self.views_to_refuse = 0
        self.answers_to_lose = 0  # of the next writes, which are written all the same
        self.refused: dict[str, str] = {}  # by id: the error of a row
        self.accepted: set[str] = set()  # ids of documents whose writes miss their quorum
        self._nodes = nodes
        self._hashes = itertools.count()
        for doc in docs:
            self.put(doc)

    def put(self, doc: Document) -> Document:
        """Write one document, as the tests do it: whatever its revision."""
        self.docs[doc['_id']] = {**doc, '_rev': self._next(doc.get('_rev', '0-'))}
        return self.docs[doc['_id']]

    def copies(self) -> int:
        return self._nodes

    def get(self, doc_id: str) -> Document:
        self.requests.append(f'get {doc_id}')
        if doc_id not in self.docs:
            raise NotFound(doc_id)
        return self.docs[doc_id]

    def existing(self, ids: Any) -> dict[str, Document]:
        self.requests.append('existing')
        return {doc_id: self.docs[doc_id] for doc_id in ids if doc_id in self.docs}

    def leaves(self, doc_id: str) -> list[Document]:
        return [self.docs[doc_id]] if doc_id in self.docs else []

    def conflicts(self, ids: Any) -> dict[str, list[str]]:
        return {}

    def bulk_docs(self, docs: list[Document]) -> list[dict[str, Any]]:
        self.requests.append(f'bulk_docs of {len(docs)}')
        rows = [self._write(doc) for doc in docs]
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise Unavailable('the answer was lost')
        return rows

    def view(self, viewname: str, **query: Any) -> dict[str, Any]:
        """The view `claims`, by key or by holder."""
        assert viewname.endswith('/claims')
        self.requests.append('view')
        if self.views_to_refuse:
            self.views_to_refuse -= 1
            raise Unavailable('the view is being built')
        claimed = [(doc, doc['claim']) for doc in self.docs.values() if isinstance(doc.get('claim'), dict)]
        rows = [{'id': doc['_id'], 'key': [claim['process'], claim['worker']], 'doc': doc} for doc, claim in claimed]
        if query.get('group'):
            return {'rows': [{'key': row['key'], 'value': 1} for row in rows if row['key'][:1] == query['startkey']]}
        return {'rows': [row for row in rows if row['key'] == query['key']]}

    def _write(self, doc: Document) -> dict[str, Any]:
        doc_id = doc['_id']
        if doc_id in self.refused:
            return {'id': doc_id, 'error': self.refused[doc_id], 'reason': 'says the server'}
        if self.docs.get(doc_id, {}).get('_rev') != doc.get('_rev'):
            return {'id': doc_id, 'error': 'conflict', 'reason': 'Document update conflict.'}
        rev = self._next(doc.get('_rev', '0-'))
        if doc.get('_deleted'):
            del self.docs[doc_id]
        else:
            self.docs[doc_id] = {**doc, '_rev': rev}
        return {'ok': True, 'id': doc_id, 'rev': rev, **({'accepted': True} if doc_id in self.accepted else {})}

    def _next(self, revision: str) -> str:
        return f'{int(revision.split("-")[0]) + 1}-{next(self._hashes):04x}'


def new(doc_id: str, **fields: Any) -> Document:
    """A document that waits for the first step."""
    return {'_id': doc_id, 'status': 'good', 'process': [], **fields}
