"""Measure the suite beside the original's pattern and the floor, alternating, and print medians and ratios.

Without --server it starts the embedded server. The login of another one comes from EDW_USERNAME and EDW_PASSWORD,
or from edw.ini; its user must be allowed to make databases, which are deleted afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import local_couchdb
from bench.contenders import Contender, Floor, original, suite
from bench.store import store
from edw import cli, config

CONTENDERS = {'floor': Floor, 'original': original, 'suite': suite}

Login = tuple[str, str, str]  # server, user name, password


def main() -> int:
    """Run the bench; returns its exit code."""
    parser = argparse.ArgumentParser(prog='python -m bench', description=__doc__)
    parser.add_argument('--server', metavar='URL', help='of a CouchDB (default: the embedded server)')
    parser.add_argument('--documents', type=cli.count, nargs='+', default=[2000], metavar='N', help='put in at once')
    parser.add_argument('--rounds', type=cli.count, default=3, metavar='N', help='of which medians are taken (3)')
    parser.add_argument('--listeners', type=cli.count, nargs='+', default=[1], metavar='N', help='for each step')
    parser.add_argument('--only', choices=CONTENDERS, nargs='+', default=[*CONTENDERS], help='some of the contenders')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there, too')
    arguments = parser.parse_args()
    with _server(arguments.server) as login:
        figures = [
            {'documents': number, 'listeners': listeners, **_throughput(login, arguments, number, listeners)}
            for number in arguments.documents
            for listeners in arguments.listeners
        ]
    if arguments.json:
        arguments.json.write_text(json.dumps({'throughput': figures}, indent=1))
    return 0


@contextlib.contextmanager
def _server(url: str | None) -> Iterator[Login]:
    if url:
        settings = config.load()
        yield url.rstrip('/'), settings.username, settings.password
        return
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as folder:
        login = 'bench', secrets.token_urlsafe(12)
        with local_couchdb.running(Path(folder) / 'couchdb', *login) as local:
            yield local, *login


def _throughput(
    login: Login, arguments: argparse.Namespace, number: int, listeners: int
) -> dict[str, dict[str, float | list[float]]]:
    """Documents a second through two steps, of each contender: all rounds, their median, and its ratio to others."""
    rates: dict[str, list[float]] = {name: [] for name in arguments.only}
    for _ in range(arguments.rounds):
        for name, of_rounds in rates.items():
            with store(*login) as database:
                contender: Contender = CONTENDERS[name](database)
                of_rounds.append(number / contender.throughput(number, listeners))
    medians = {name: statistics.median(of_rounds) for name, of_rounds in rates.items()}
    print(f'\n{number} documents put in at once, {listeners} listener(s) a step: documents/s through two steps')
    for name, median in medians.items():
        ratios = '  '.join(f'{median / other:6.2f} of {known}' for known, other in medians.items() if known != name)
        print(f'{name:10} {median:7.1f}   {ratios}')
    sys.stdout.flush()
    return {name: {'median': medians[name], 'rounds': rates[name]} for name in rates}


if __name__ == '__main__':
    sys.exit(cli.ending(main))
