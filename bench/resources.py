"""What the suite costs: at rest, with a large backlog, and at the start of a listener on a large database."""

from __future__ import annotations

import time

from bench.contenders.on_couchdb import OnCouchDB, logged, original, suite
from bench.store import Login, Store, store
from bench.usage import CountingProxy, cpu_seconds, listening_on, memory
from bench.work import LIMIT, STEPS

WARM_UP = 5.0  # seconds after its start before a listener is taken to be at rest
REST = 60.0  # seconds


def at_rest(login: Login) -> dict[str, dict[str, float]]:
    """Requests and CPU time (s) a minute: of an idle listener of each kind, and of its server, alone and with it."""
    figures = {'no listener': {'server CPU s': _server_cpu(login[0])}}
    for name, kind in (('original', original), ('suite', suite)):
        with store(*login) as database:
            figures[name] = idle(kind(database))
    return figures


def idle(contender: OnCouchDB) -> dict[str, float]:
    """Requests and CPU time (s) in a minute of an idle listener of the second step, and that of its server."""
    server = contender.store.settings.server
    proxy = CountingProxy(server)
    with contender.running(1, steps=STEPS[1:], server=proxy.url) as processes:
        time.sleep(WARM_UP)
        (listener,) = processes.started
        requests, cpu = proxy.requests, cpu_seconds(listener.pid)
        of_server = _server_cpu(server)
        figures = {
            'requests': float(proxy.requests - requests),
            'CPU s': cpu_seconds(listener.pid) - cpu,
            'server CPU s': of_server,
        }
    proxy.close()
    return figures


def backlog(login: Login, number: int) -> dict[str, float]:
    """Memory (MB) of a listener that works off a backlog, when it has done a quarter of it and at the end; its peak."""
    with store(*login) as database:
        docs = database.new(number)
        database.put_in(docs)
        database.warm()
        begin = database.sequence()
        figures = {}
        with suite(database).running(1, steps=STEPS[:1]) as processes:
            (listener,) = processes.started
            for label, part in (('quarter', 0.25), ('end', 1.0)):
                database.wait_for_sequence(begin + int(2 * number * part))  # a claim and a result each
                figures[label], figures['peak'] = memory(listener.pid)
    return figures


def start(database: Store) -> float:
    """Seconds from the start of a listener's process until the first new document is claimed."""
    (doc,) = database.new(1)
    database.put_in([doc])
    begun = time.time()
    with suite(database).running(1, steps=STEPS[:1]) as processes:
        taken = processes.wait_for_times(logged('claimed'), {doc['_id']}, LIMIT)
    return taken[doc['_id']] - begun


def _server_cpu(server: str) -> float:
    """CPU time (s) that the server takes while a minute goes by; not a number where it cannot be seen."""
    pid = listening_on(server)
    before = cpu_seconds(pid) if pid else float('nan')
    time.sleep(REST)
    return (cpu_seconds(pid) if pid else float('nan')) - before
