"""A step for tests: notes each callback in a journal outside the database, and takes a moment.

Usage: journal_step.py one|two AFTER [options of a listener]; EDW_TEST_JOURNAL names the journal,
EDW_TEST_SECONDS how long a callback takes. A document whose `poison` is the step's name makes it raise; one with
an `original_file` has that moved by the first step, and a file derived from it by the second, as steps do.
"""

from __future__ import annotations

import os
import sys
import time

import listener
from edw import files
from edw.transfer import local_copy, new_file, target_in, transfer

JOURNAL = os.environ['EDW_TEST_JOURNAL']
SECONDS = float(os.environ.get('EDW_TEST_SECONDS', '0'))
NAMES = ('one', 'two')
DERIVED = 2000  # bytes


def note(word: str, doc: dict) -> None:
    # One short write to a file opened for appending is not torn apart by those of other processes.
    line = f'{word} {name_for(doc)} {doc["_id"]} {os.getpid()}\n'.encode()
    journal = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, line)
    os.close(journal)


def name_for(doc: dict) -> str:
    """Of the step that this is: not an argument, which nodes of a farm do not see."""
    return NAMES[len(doc['process'])]


def callback(doc: dict) -> dict:
    note('begins', doc)
    time.sleep(SECONDS)  # the work
    if doc.get('poison') == name_for(doc):
        raise ValueError('poison')
    result = work_on_file(doc) if 'original_file' in doc else {}
    note('ends', doc)
    return {'pid': os.getpid(), **result}


def work_on_file(doc: dict) -> dict:
    if not doc['process']:
        target = target_in(listener.settings().sps, doc['_id'], doc['original_file'])
        moved = transfer(doc['original_file'], target, doc['md5sum'])
        return {'file': moved.file, 'md5sum': moved.md5sum}
    moved = doc['process'][-1]
    target = target_in(moved['file'].rpartition('/')[0], doc['_id'], '.derived')
    with local_copy(moved['file'], moved['md5sum']) as source, new_file(target) as result:
        result.write_bytes(source.read_bytes()[:DERIVED][::-1])
        md5sum = files.md5_of(result)
    return {'file': target, 'md5sum': md5sum}


if __name__ == '__main__':
    name, place = sys.argv[1:3]
    del sys.argv[1:3]
    after = 0 if place == '0' else place
    raise SystemExit(listener.main(callback, name=name, after=after, failed=f'{name} failed'))
