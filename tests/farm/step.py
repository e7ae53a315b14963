"""A step for tests whose callback does what the document's `do` says, and notes in a journal when it begins and ends.

EDW_TEST_FOLDER, of the nodes, is the folder of the journal, and of the files that callbacks wait for.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import listener

FOLDER = Path(os.environ.get('EDW_TEST_FOLDER', '.'))

if os.environ.get('EDW_TEST_BROKEN'):
    import of_no_package  # noqa: F401

log = logging.getLogger('edw.test')


def note(word: str, doc_id: str) -> None:
    # One short write to a file opened for appending is not torn apart by those of other processes.
    journal = os.open(FOLDER / 'journal', os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, f'{time.monotonic()} {word} {doc_id} {os.getpid()} {os.getppid()}\n'.encode())
    os.close(journal)


def callback(doc: dict[str, Any]) -> dict[str, Any]:
    note('begins', doc['_id'])
    match doc.get('do'):
        case 'wait':
            while not (FOLDER / 'go').exists():
                time.sleep(0.02)
        case 'hang':
            threading.Event().wait()
        case 'sleep':
            time.sleep(doc['seconds'])
        case 'say':
            log.warning('something is odd with %s', listener.settings().sps)
        case 'segfault':
            ctypes.string_at(0)
        case 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        case 'leave a child':
            if os.fork() == 0:
                time.sleep(10)  # has all that its parent had open
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        case 'kill the node':
            os.kill(os.getppid(), signal.SIGKILL)
            threading.Event().wait()
        case 'exit':
            os._exit(7)
        case 'raise':
            raise ValueError('on purpose')
    note('ends', doc['_id'])
    settings = listener.settings()
    return {'pid': os.getpid(), 'sps': settings.sps, 'password': settings.password}


if __name__ == '__main__':
    raise SystemExit(
        listener.main(
            callback,
            name='far',
            after=0,
            failed='far failed',
            packages=('distributed',),
            when=lambda doc: doc.get('do') != 'skip' or 'not for the farm',
        )
    )
