#!/usr/bin/env python3
"""The whole chain in one go, in a folder of its own: embedded server, design document, both listeners, 3 documents.

Nothing of it is left behind, and edw.ini and the databases it names are not touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import local_couchdb
from edw import cli, config
from edw.database.client import Database
from edw.errors import EdwError, Unavailable
from edw.model.documents import GOOD, Document, is_run

HERE = Path(__file__).resolve().parent
DOCUMENTS = 3
EVENTS = 200
LAST_STEP = 'signal_processing'
LISTENERS = ('listen_newfiles.py', 'listen_analysis1.py')
LIMIT = 120.0  # seconds without any change in the database after which something is wrong
STOP_TIMEOUT = 20.0  # seconds for a listener to end after a signal
TAIL = 15  # lines of a failed process that are shown

Events = queue.SimpleQueue[EdwError | None]  # of what the demo waits for: a change (None), or an error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    cli.parser(__doc__, reads_settings=False).parse_args(argv)
    password = secrets.token_urlsafe(12)
    with tempfile.TemporaryDirectory(prefix='edw-demo-') as name:
        folder = Path(name)
        with local_couchdb.running(folder / 'couchdb', 'demo', password) as url:
            print(f'embedded server at {url}')
            # A copy, because the folders of the data files are relative to it.
            file = Path(shutil.copy(config.DEFAULT_FILE, folder))
            os.environ.update(EDW_SERVER=url, EDW_DBNAME='demo', EDW_USERNAME='demo', EDW_PASSWORD=password)
            _run(file, 'upload_design.py')
            events: Events = queue.SimpleQueue()
            with contextlib.ExitStack() as listeners:
                for script in LISTENERS:
                    listeners.enter_context(_listening(file, script, events))
                _run(file, 'make_metadata.py', str(DOCUMENTS), '--events', str(EVENTS))
                docs = _finished(Database(config.load(file)), events)
            _show(docs)
    return 0


def _run(file: Path, script: str, *arguments: str) -> None:
    print(' '.join(['$ python', script, *arguments]), flush=True)
    if subprocess.run(_command(file, script, *arguments), check=False).returncode:
        raise EdwError(f'{script} failed, see above')


def _command(file: Path, script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / script), '--config', str(file), *arguments]


@contextlib.contextmanager
def _listening(file: Path, script: str, events: Events) -> Iterator[None]:
    """A listener as a process; its end before its time is an event."""
    print(f'$ python {script} &', flush=True)
    log = file.with_name(f'{script}.log')
    with open(log, 'wb') as stream:
        process = subprocess.Popen(_command(file, script), stdout=stream, stderr=subprocess.STDOUT)

    def watch() -> None:
        code = process.wait()
        events.put(EdwError(f'{script} ended with exit code {code}'))

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except EdwError:
        print(f'--- last lines of {script}', *_tail(log), sep='\n', file=sys.stderr)
        raise
    finally:
        local_couchdb.stop(process, STOP_TIMEOUT)


def _tail(log: Path) -> list[str]:
    return log.read_text(errors='replace').splitlines()[-TAIL:]


def _finished(database: Database, events: Events) -> list[Document]:
    """Wait until every document is through the chain, looking each time that the database changes."""

    def follow(since: str | int) -> None:
        try:
            while True:
                since = feed.longpoll(since)['last_seq']
                events.put(None)
        except Unavailable:
            return  # the server ends with the demo; before that, its listeners would say so

    feed = Database(database.settings)
    threading.Thread(target=follow, args=(database.info()['update_seq'],), daemon=True).start()
    while True:
        rows = database.all_docs(include_docs=True)
        docs = [row['doc'] for row in rows if not row['id'].startswith('_') and not is_run(row['doc'])]
        for doc in docs:
            if doc['status'] != GOOD:
                raise EdwError(f'{doc["_id"]}: {doc["status"]}: {doc.get("failures")}')
        if len(docs) == DOCUMENTS and all(_last(doc) == LAST_STEP for doc in docs):
            return docs
        try:
            event = events.get(timeout=LIMIT)
        except queue.Empty:
            raise EdwError(f'nothing has changed in the database for {LIMIT:g} s') from None
        if event is not None:
            raise event


def _last(doc: Document) -> str | None:
    return doc['process'][-1]['name'] if doc['process'] else None


def _show(docs: list[Document]) -> None:
    head = ('document', 'step', 'host', 'file', 'md5', 'seconds')
    lines = [
        (
            doc['_id'],
            entry['name'],
            entry['hostname'],
            Path(entry['file']).name,
            entry['md5sum'],
            f'{entry["finished"] - entry["started"]:.2f}',
        )
        for doc in docs
        for entry in doc['process']
    ]
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    print()
    for line in (head, tuple('-' * width for width in widths), *lines):
        print('  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(f'\n{docs[0]["_id"]} in full:')
    print(json.dumps(docs[0], indent=4))
    print('\nresolution reached:')
    for doc in docs:
        print(f'{doc["_id"]}: {doc["process"][-1]["log"]}')


if __name__ == '__main__':
    sys.exit(cli.ending(main))
