"""When documents are through, as seen from outside: by the feed of all changes, without documents."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from urllib.parse import urlsplit

HEARTBEAT = 10000  # milliseconds


class Observer:
    """Notes for each document when it was first seen at a generation (the number before the dash of its revision)."""

    def __init__(self, url: str, login: tuple[str, str], generation: int) -> None:
        self.seen: dict[str, float] = {}  # `perf_counter` by document id
        self._generation = generation
        self._changed = threading.Condition()
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        credentials = base64.b64encode(':'.join(login).encode()).decode()
        path = f'{parts.path}/_changes?feed=continuous&since=now&heartbeat={HEARTBEAT}'
        self._connection.request('GET', path, headers={'Authorization': f'Basic {credentials}'})
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, ids: list[str], limit: float) -> None:
        """Wait until all of the documents have been seen."""
        with self._changed:
            done = self._changed.wait_for(lambda: all(doc_id in self.seen for doc_id in ids), limit)
        assert done, f'{sum(doc_id not in self.seen for doc_id in ids)} documents are not through after {limit:g} s'

    def _read(self) -> None:
        while line := self._response.readline():
            now = time.perf_counter()
            if not line.strip():
                continue
            change = json.loads(line)
            if 'id' in change and int(change['changes'][0]['rev'].split('-')[0]) >= self._generation:
                with self._changed:
                    self.seen.setdefault(change['id'], now)
                    self._changed.notify_all()
