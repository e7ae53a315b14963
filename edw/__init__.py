"""What the scripts are built on, in packages; each imports only from those above it in this list.

edw                 what step scripts may import: errors, files, transfer, config, cli, logs, redact
edw.storage         where files are: locations, local folders, other machines, and the one way to move a file
edw.model           documents, the chain of steps, a document's timeline, names of listeners: pure functions
edw.database        CouchDB over HTTP: client, login, retry, changes, views, the design document
edw.claiming        whose a document is: claims, results, clusters, heartbeats, peers
edw.listening       the parts of a listener: feed, intake, policy, waiting, what is in flight, steps, engines, metrics
edw.registering     new documents for data files: the catalogue, runs, watching a folder
edw.keeping         the files that documents name: whether they are whole, which may be deleted, how soon disks are full
edw.operating       what operators look at and change: status, tables, checks, reprocessing

`edw.heartbeat` and `edw.transfer` are no modules but doors: `python -m edw.heartbeat` is the process that listeners
start, and `edw.transfer` is what step scripts need of `edw.storage`.
"""

__version__ = '2.1.0'  # the only place: pyproject.toml reads it here
