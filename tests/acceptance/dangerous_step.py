"""A step for tests whose callback does what the document's `do` says."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

import listener


def callback(doc: dict) -> dict:
    match doc['do']:
        case 'hang':
            print('hanging', flush=True)
            threading.Event().wait()
        case 'hold the lock':
            print('hanging', flush=True)
            ctypes.PyDLL(None).pause()  # in C code that does not give up the interpreter's lock
        case 'read':
            print('hanging', flush=True)
            with open(doc['file'], 'rb') as stream:
                stream.read()
        case 'leave a child':
            if os.fork() == 0:
                time.sleep(10)  # has all that its parent had open
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        case 'segfault':
            ctypes.string_at(0)
        case 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        case 'exit':
            os._exit(7)
        case 'raise':
            raise ValueError(f'with {listener.settings().password}')
    return {'pid': os.getpid(), 'dbname': listener.settings().dbname}


if __name__ == '__main__':
    raise SystemExit(listener.main(callback, name='dangerous', after=0, failed='too dangerous'))
