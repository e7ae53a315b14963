"""delete_originals.py, killed before its step number N of a deletion: killed_at.py ARGUMENTS..., with one original.

Its steps are whatever it asks of the database, of a file's bytes and of the folder. N beyond the last one: it is killed
when the deletion is done, before anything is said of it. Each line on stdin is an N, for a process of its own, forked
from one that has imported all; `ended: ` and how it did is the last line that is said of it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import delete_originals
from edw.database.client import Database
from edw.keeping import deleting
from edw.keeping.deleting import Deleter
from edw.keeping.looking import Looker

left = 0
is_deleting = False


def killed_before(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, but for the one that is the step number N."""

    def made(*arguments: Any, **options: Any) -> Any:
        global left
        if is_deleting:
            if left == 0:
                print(f'killed before {call.__name__}', flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        return call(*arguments, **options)

    return made


def deleted(self: Deleter, *arguments: Any) -> int:
    """The deletion, whose steps are counted."""
    global is_deleting
    is_deleting = True
    original_delete(self, *arguments)
    print('killed after the last step', flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


original_delete = Deleter.delete
Deleter.delete = deleted
for name in ('existing', 'conflicts', 'bulk_docs'):
    setattr(Database, name, killed_before(getattr(Database, name)))
for name in ('state', 'md5'):
    setattr(Looker, name, killed_before(getattr(Looker, name)))
deleting.md5_from_disk = killed_before(deleting.md5_from_disk)
os.unlink = killed_before(os.unlink)

if __name__ == '__main__':
    for line in sys.stdin:
        left = int(line)
        child = os.fork()
        if child == 0:
            sys.exit(delete_originals.main(sys.argv[1:]))
        print(f'ended: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}', flush=True)
