"""The command line of a listener: its options, and the metrics that one of them asks for."""

from __future__ import annotations

import argparse
import logging

from edw import cli
from edw.config import ENGINES, Settings
from edw.database import views
from edw.engines.processes import cores
from edw.listening.metrics import UNHEARD, Metrics
from edw.listening.steps import Step
from edw.storage import space


def parser(step: Step, engine: str) -> argparse.ArgumentParser:
    """The options of a listener of this step, whose callbacks run in `engine` by default."""
    where = 'new documents' if step.after == 0 else f'documents whose last step is {step.after}'
    command = cli.parser(f'Wait for {where}, run the step {step.name} on each, and record the result in it.')
    command.add_argument(
        '--engine',
        choices=ENGINES,
        help='where callbacks run: in threads, for those that wait, or in processes, for those that compute (default: '
        f'as edw.ini says, else {engine}). For processes the callback must be a function at the top level of its '
        'script, the script must call listener.main under if __name__ == "__main__", and nothing that it keeps in '
        'memory is shared. A callback that ends its process costs that attempt, not the listener',
    )
    command.add_argument(
        '--workers',
        type=cli.workers,
        metavar='N',
        help='callbacks that run at once (default: as edw.ini says, else 1 thread, or as many processes as there are '
        f'processors for this one, {cores()})',
    )
    command.add_argument(
        '--batch', type=cli.count, metavar='N', help='most documents to claim at once (default: as edw.ini says)'
    )
    command.add_argument(
        '--timeout',
        type=cli.seconds,
        metavar='S',
        help='break a callback off after S seconds, and count that as a failed attempt: in processes, which are the '
        'default then',
    )
    command.add_argument(
        '--farm',
        metavar='ADDRESS',
        help='run callbacks on the Dask cluster of this scheduler, tcp://HOST:PORT, tls://HOST:PORT or the name of its '
        'file; --workers is then how many at once, at most (default: as many as the cluster has threads)',
    )
    command.add_argument(
        '--insecure',
        action='store_true',
        help='with --farm: also by tcp:// to another machine, where anybody who '
        'reaches the ports of the cluster runs code there',
    )
    command.add_argument(
        '--instead-of',
        action='append',
        default=[],
        metavar='STEP',
        help='this step replaces another one that was done on the same documents; without it two steps at one place in '
        'the chain are refused. With its own name: it was moved to a place behind its former one',
    )
    command.add_argument(
        '--order',
        choices=views.ORDERS,
        default=views.OLDEST,
        help='what to take first of all that waits: by the ids of documents, or the highest number in their field '
        'priority (default: oldest)',
    )
    command.add_argument('--once', action='store_true', help='finish what waits and exit, with 1 if a document failed')
    command.add_argument(
        '--for',
        dest='duration',
        type=cli.seconds,
        metavar='S',
        help='take nothing new after S seconds, finish what runs and exit: for batch jobs',
    )
    command.add_argument(
        '--limit', type=cli.count, metavar='N', help='take N documents at most, finish them and exit: for batch jobs'
    )
    command.add_argument(
        '--metrics',
        type=cli.address,
        metavar='[HOST:]PORT',
        help='answer Prometheus on this port, of 127.0.0.1 unless HOST says otherwise; 0 takes a free port',
    )
    loudness = command.add_mutually_exclusive_group()
    for flag, level, text in (
        ('-v', logging.DEBUG, 'say more, and name each document of a burst'),
        ('-q', logging.WARNING, 'say only what is wrong'),
    ):
        loudness.add_argument(flag, dest='level', action='store_const', const=level, default=logging.INFO, help=text)
    return command


def metrics_of(step: Step, settings: Settings, address: tuple[str, int] | None) -> Metrics:
    """The metrics of a listener, answered on an address; of none where there is no address."""
    if address is None:
        return UNHEARD
    from edw.listening import exporter  # a listener that nobody measures does without the package

    metrics = exporter.Exporter(step, space.folders(settings))
    exporter.serve(metrics, *address)
    return metrics
