"""What the scripts are built on, in packages; each imports only from those above it in this list.

edw                 what step scripts may import: errors, files, transfer, config, cli, logs, redact, software
edw.storage         where files are: locations, local folders, other machines, and the one way to move a file
edw.model           documents, the chain of steps, a document's timeline, names of listeners: pure functions
edw.database        CouchDB over HTTP: client, login, retry, changes, views, the design document
edw.claiming        whose a document is: claims, results, clusters, heartbeats, peers
edw.engines         where callbacks run: threads, processes
edw.listening       the parts of a listener: feed, intake, policy, waiting, what is in flight, steps, metrics
edw.registering     new documents for data files: the catalogue, runs, watching a folder
edw.keeping         the files that documents name: whether they are whole, which may be deleted, how soon disks are full
edw.operating       what operators look at and change: status, tables, checks, reprocessing
edw.completing      runs as documents: when they are complete
edw.selecting       which documents, and which files of them: conditions, finding, data frames

`edw.heartbeat` and `edw.transfer` are no modules but doors: `python -m edw.heartbeat` is the process that listeners
start, and `edw.transfer` is what step scripts need of `edw.storage`.

In a notebook: `edw.select_files(run='ma22a*', step='signal_processing')`, see `edw.selecting.frames`.
"""

from __future__ import annotations

import importlib

# As type checkers know it, without `typing`: the heartbeat process, which imports this, is to begin with little.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = '2.1.0'  # the only place: pyproject.toml reads it here


def __getattr__(name: str) -> Any:
    # Not imported with this package, which everything imports first: it is built on all the others.
    if name == 'select_files':
        return importlib.import_module('edw.selecting.frames').select_files
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
