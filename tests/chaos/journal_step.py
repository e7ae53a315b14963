"""A step for tests: notes each callback in a journal outside the database, and takes a moment.

Usage: journal_step.py NAME AFTER [options of a listener]; EDW_TEST_JOURNAL names the journal,
EDW_TEST_SECONDS how long a callback takes. A document whose `poison` is the step's name makes it raise.
"""

from __future__ import annotations

import os
import sys
import time

import listener

JOURNAL = os.environ['EDW_TEST_JOURNAL']
SECONDS = float(os.environ.get('EDW_TEST_SECONDS', '0'))
NAME, AFTER = sys.argv[1:3]


def note(word: str, doc_id: str) -> None:
    # One short write to a file opened for appending is not torn apart by those of other processes.
    line = f'{word} {NAME} {doc_id} {os.getpid()}\n'.encode()
    journal = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, line)
    os.close(journal)


def callback(doc: dict) -> dict:
    note('begins', doc['_id'])
    time.sleep(SECONDS)  # the work
    if doc.get('poison') == NAME:
        raise ValueError('poison')
    note('ends', doc['_id'])
    return {'pid': os.getpid()}


if __name__ == '__main__':
    del sys.argv[1:3]
    after = 0 if AFTER == '0' else AFTER
    raise SystemExit(listener.main(callback, name=NAME, after=after, failed=f'{NAME} failed'))
