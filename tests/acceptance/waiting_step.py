"""A step for tests: notes in a journal what it begins with, and waits until a file says to go on.

With EDW_TEST_HOLD=SECONDS it does not wait, but is that long in C code that does not give up the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import listener

JOURNAL = Path(os.environ['EDW_TEST_JOURNAL'])
HOLD = int(os.environ.get('EDW_TEST_HOLD', '0'))
LOOK_INTERVAL = 0.05  # seconds


def note(word: str, doc_id: str) -> None:
    with JOURNAL.open('a') as journal:
        journal.write(f'{word} {doc_id} {os.getpid()}\n')


def callback(doc: dict) -> dict:
    note('begins', doc['_id'])
    if HOLD:
        ctypes.PyDLL(None).sleep(HOLD)
    else:
        while not JOURNAL.with_suffix('.go').exists():
            time.sleep(LOOK_INTERVAL)
    note('ends', doc['_id'])
    return {'pid': os.getpid()}


if __name__ == '__main__':
    raise SystemExit(listener.main(callback, name='waiting', after=0, failed='waiting failed'))
