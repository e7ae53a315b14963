"""Following the feed for runs: which are concerned by what changed, and completing those that are complete."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable
from typing import Any

from edw.completing.completeness import completed, progress
from edw.database import changes, views
from edw.database.changes import Sequence
from edw.database.client import Database
from edw.database.retry import Retry
from edw.errors import Conflict
from edw.logs import short_sequence
from edw.model.documents import RUN_COMPLETE, is_run
from edw.operating.display import number
from edw.registering.runs import condition_of

PAGE = 1000  # changes in one answer
HOSTNAME = socket.gethostname()

log = logging.getLogger(__name__)


class Completer:
    """Completes closed runs whose files are past a step."""

    def __init__(self, database: Database, step: str, retry: Retry) -> None:
        self._database = database
        self._step = step
        self._retry = retry

    def check_all(self) -> int:
        """Look at every closed run; returns how many were completed."""
        rows = self._retry(views.rows, self._database, views.CLOSED, reduce=False)
        return self.check(row['id'] for row in rows)

    def check(self, runs: Iterable[str]) -> int:
        """Look at some runs, those that are closed; returns how many were completed."""
        return sum(self._retry(self._check, run) for run in sorted(set(runs)))

    def changed(self, since: Sequence) -> tuple[set[str], Sequence]:
        """Runs that are concerned by what has changed after a sequence, and the sequence up to which that is."""
        runs: set[str] = set()
        while True:
            query: dict[str, Any] = {'limit': PAGE, 'include_docs': 'true'}
            page = self._retry(self._database.changes, since, **query)
            for change in page['results']:
                doc = change.get('doc') or {}
                run = change['id'] if is_run(doc) else doc.get('run')
                if isinstance(run, str):
                    runs.add(run)
            since = page['last_seq']
            if len(page['results']) < PAGE:
                return runs, since

    def listen(self) -> None:
        """Complete runs as their files come to be past the step, for ever. Raises EdwError for permanent errors."""
        # Before the first look, so that nothing can fall between the two.
        since: Sequence = self._retry(self._database.info)['update_seq']
        log.info('%s: database %s', RUN_COMPLETE, self._retry(self._database.place))
        log.info('%s: listening for closed runs from sequence: %s', RUN_COMPLETE, short_sequence(since))
        self.check_all()
        for _ in changes.changes(self._database, since, self._retry):
            runs, since = self.changed(since)
            self.check(runs)

    def _check(self, run: str) -> int:
        doc = self._database.existing([run]).get(run)
        if doc is None or not is_run(doc):
            return 0
        found = progress(self._database, run, self._step)
        version = completed(doc, found, self._step, time.time(), HOSTNAME)
        if version is None:
            return 0
        # Files may have come since the run was closed.
        condition = condition_of(self._database, run)
        if condition is not None:
            version = {**version, 'condition': condition}
        try:
            self._database.put(version)
        except Conflict:
            return 0  # that change is told by the feed
        failed = f', {found.failed} of them failed' if found.failed else ''
        log.info('run %s is complete: %s%s', run, number(found.files, 'file'), failed)
        return 1
