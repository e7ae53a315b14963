"""Measure the suite beside the original's pattern, the floor and task queues, and print medians and ratios.

Without --server it starts the embedded server. The login of another one comes from EDW_USERNAME and EDW_PASSWORD,
or from edw.ini; its user must be allowed to make databases, which are deleted afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import secrets
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import local_couchdb
from bench import analysis, chain, resources, runs, speed
from bench.contenders import Contender
from bench.contenders.task_queues import task_queues
from bench.large import beside
from bench.report import percentiles, rates, table, values
from bench.store import Login, store
from bench.transfers import local, over_ssh
from edw import cli, config

CHAIN_FILES = 300
SINGLE_FILES, SINGLE_RATE = 40, 2.0  # that come one by one, and how many a second
LATENCY_DOCUMENTS = 400
LATENCY_RATE = 20.0  # documents a second
LISTENERS = (1, 4)  # for each step
MOST_OF_ORIGINAL = 5_000  # documents
EVENTS = (2_000, 20_000)  # of a data file
SEEDED_RUNS = 10
RUNS = ((200, 300, 400, 500), (40,) * 8)  # events of each file
FARM_SECONDS = 0.05  # that a callback takes on a farm
FARM_PLACES = (8, 64, 256)
FARM_ROUNDS_EACH = 100  # callbacks one after the other at each place
FILES = ((1, 512_000_000), (2000, 1_000_000))  # that are moved: how many, and bytes of each


@dataclass(frozen=True)
class Bench:
    """What all measurements are made with."""

    login: Login
    queues: dict[str, Contender]
    names: list[str]  # of the contenders
    rounds: int
    sizes: tuple[int, ...]  # documents that are put in at once
    large: int  # documents in a large database, and in a large backlog
    files: int  # of the chain
    environment: Path  # a virtual one, which may have Celery and Snakemake

    def _those(self, listeners: int, number: int) -> list[str]:
        """Contenders that it makes sense for: several listeners of the original are in each other's way.

        And a few thousand documents tell all of it, because its time grows with their number.
        """
        left_out = {'floor', 'original'} if listeners > 1 else {'original'} if number > MOST_OF_ORIGINAL else set()
        return [name for name in self.names if name not in left_out]

    def chain(self) -> Iterator[Any]:
        """Real files through the real steps."""
        found, cpu = chain.measure(self.login, self.files, self.rounds, self.environment)
        rates(f'{self.files} files of 1 MB through both steps, {chain.WORKERS} workers: files/s', found)
        for name, of_it in cpu.items():
            values(f'{name}: CPU ms a file', of_it)
        with chain.chain(self.login, SINGLE_FILES) as made:
            single = made.latency(SINGLE_RATE)
        percentiles(f'{SINGLE_RATE:g} files a second, one by one: ms to the end', {'suite': single})
        yield {'files': self.files, 'files/s': found, 'CPU ms': cpu, 'seconds': single}

    def throughput(self) -> Iterator[Any]:
        """Documents a second through two steps."""
        for number in self.sizes:
            for listeners in LISTENERS if number == self.sizes[0] else (1,):
                found = speed.throughput(
                    self.login, self.queues, self._those(listeners, number), number, listeners, self.rounds
                )
                rates(f'{number} documents at once, {listeners} listener(s) a step: documents/s', found)
                yield {'documents': number, 'listeners': listeners, 'documents/s': found}

    def latency(self) -> Iterator[Any]:
        """Time of a single document through both steps."""
        for listeners in LISTENERS:
            names = self._those(listeners, LATENCY_DOCUMENTS)
            found = speed.latency(self.login, self.queues, names, LATENCY_DOCUMENTS, LATENCY_RATE, listeners)
            percentiles(f'{LATENCY_RATE:g} documents a second, {listeners} listener(s) a step: ms to the end', found)
            yield {'listeners': listeners, 'seconds': found}

    def rest(self) -> Iterator[Any]:
        """What idle listeners cost."""
        found = resources.at_rest(self.login)
        for name, of_it in found.items():
            values(f'at rest, a minute, {name}', of_it)
        yield found

    def backlog(self) -> Iterator[Any]:
        """Memory with a large backlog."""
        found = resources.backlog(self.login, self.large)
        values(f'memory (MB) of a listener with a backlog of {self.large}', found)
        yield {'documents': self.large, 'memory': found}

    def beside(self) -> Iterator[Any]:
        """A database with a large catalogue beside an empty one."""
        with store(*self.login) as full:
            made = beside.fill(full, self.large)
            values(f'{self.large} finished documents: seconds', made)
            compared = beside.Beside(self.login, full)
            asked = compared.questions(self.large, self.rounds)
            for what, figures in asked.items():
                rates(f'{what}: seconds (empty: one run)', figures)
            rested = compared.rest()
            table('at rest, a minute', rested)
            seconds_of_one = compared.latency(LATENCY_DOCUMENTS, LATENCY_RATE)
            percentiles(f'{LATENCY_RATE:g} documents a second: ms to the end', seconds_of_one)
            burst = compared.throughput(self.sizes[0], self.rounds)
            rates(f'{self.sizes[0]} documents at once: documents/s', burst)
            started = compared.start(self.rounds)
            rates('from the start of a listener to its first claim: seconds', started)
        yield {
            'finished': self.large,
            'made': made,
            'asked': asked,
            'rest': rested,
            'seconds': seconds_of_one,
            'documents/s': burst,
            'start': started,
        }

    def analysis(self) -> Iterator[Any]:
        """The analysis of a data file."""
        for events in EVENTS:
            found = analysis.measure(events, self.rounds)
            rates(f'analysis of {events} events: events/s', found)
            yield {'events': events, 'events/s': found}

    def runs(self) -> Iterator[Any]:
        """The summary of a run beside its files alone."""
        for sizes in RUNS:
            found = runs.measure(SEEDED_RUNS, sizes)
            for detector, of_it in found.items():
                events = ', '.join(map(str, sizes))
                table(f'{SEEDED_RUNS} runs of {len(sizes)} files with {events} events, {detector}', of_it)
            yield {'runs': SEEDED_RUNS, 'events': sizes, 'found': found}

    def transfer(self) -> Iterator[Any]:
        """Moving files on this machine, and, where there is an sshd, over SSH to it."""
        for number, size in FILES:
            rounds = self.rounds if number == 1 else 1  # each with many files takes minutes
            found = local.measure(number, size, rounds)
            rates(f'{number} file(s) of {size / 1e6:g} MB, on one disk: MB/s', found)
            yield {'files': number, 'bytes': size, 'MB/s': found}
            if (sshd := over_ssh.program()) is None:
                print('\nsshd is not installed (Debian package openssh-server): no copies over SSH')
                continue
            for what, found in over_ssh.measure(sshd, number, size, rounds).items():
                rates(f'{number} file(s) of {size / 1e6:g} MB, over SSH, {what}: MB/s', found)
                yield {'files': number, 'bytes': size, 'over SSH': what, 'MB/s': found}

    def farm(self) -> Iterator[Any]:
        """What a farm reaches of the ideal, and what one callback costs there."""
        if importlib.util.find_spec('distributed') is None:
            print('\nthe package distributed is not installed (requirements-farm.txt): no farm')
            return
        from bench.farm import engine

        for places in FARM_PLACES:
            found = engine.measure(places, FARM_SECONDS, places * FARM_ROUNDS_EACH, self.rounds)
            ideal = places / FARM_SECONDS
            title = f'{places} places on a farm, callbacks of {1000 * FARM_SECONDS:g} ms, ideal {ideal:g}'
            rates(f'{title}: documents/s', found['documents/s'])
            reached = {name: statistics.median(of_it) / ideal for name, of_it in found['documents/s'].items()}
            values('reached of the ideal', reached)
            values('CPU ms a document', found['CPU ms'])
            yield {'places': places, 'seconds': FARM_SECONDS, 'reached': reached, **found}
        single = {
            'without a process': engine.one_by_one(light=True),
            'in a process': engine.one_by_one(light=False),
        }
        percentiles('a callback that does nothing, one after the other, on a farm: ms', single)
        yield {'seconds': single}


WHAT = ('chain', 'throughput', 'latency', 'rest', 'backlog', 'beside', 'analysis', 'runs', 'transfer', 'farm')
WITHOUT_SERVER = {'analysis', 'runs', 'transfer', 'farm'}
EMBEDDED: dict[str, Any] = {'sizes': (2000,), 'large': 5_000}
COUCHDB: dict[str, Any] = {'sizes': (2000, 10_000), 'large': 100_000}


def main() -> int:
    """Run the bench; returns its exit code."""
    parser = argparse.ArgumentParser(prog='python -m bench', description=__doc__)
    parser.add_argument('--server', metavar='URL', help='of a CouchDB (default: the embedded server)')
    parser.add_argument('--what', choices=WHAT, nargs='+', default=[*WHAT], help='some of the measurements')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='some of the contenders: suite, original, floor, ...')
    parser.add_argument('--large', type=cli.count, metavar='N', help='documents of a large database, a large backlog')
    parser.add_argument('--rounds', type=cli.count, default=3, metavar='N', help='of which medians are taken (3)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there, too')
    parser.add_argument(
        '--files', type=cli.count, default=CHAIN_FILES, metavar='N', help=f'of the chain ({CHAIN_FILES})'
    )
    parser.add_argument(
        '--peers',
        type=Path,
        default=Path(sys.prefix),
        metavar='FOLDER',
        help='virtual environment with Celery or Snakemake, for the chain (this one)',
    )
    arguments = parser.parse_args()
    figures: dict[str, list[Any]] = {what: [] for what in arguments.what}
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as folder, contextlib.ExitStack() as stack:
        login = '', '', ''
        if set(arguments.what) - WITHOUT_SERVER:
            login = stack.enter_context(_server(arguments.server, Path(folder)))
        queues: dict[str, Contender] = {}
        if {'throughput', 'latency'} & set(arguments.what):
            queues = stack.enter_context(task_queues(Path(folder), arguments.only))
        names = [name for name in (*speed.ON_COUCHDB, *queues) if not arguments.only or name in arguments.only]
        scale = COUCHDB if arguments.server else EMBEDDED
        if arguments.large:
            scale |= {'large': arguments.large}
        bench = Bench(
            login, queues, names, arguments.rounds, **scale, files=arguments.files, environment=arguments.peers
        )
        for what in arguments.what:
            for found in getattr(bench, what)():
                figures[what].append(found)
                if arguments.json:
                    arguments.json.write_text(json.dumps(figures, indent=1))
    return 0


@contextlib.contextmanager
def _server(url: str | None, folder: Path) -> Iterator[Login]:
    if url:
        settings = config.load()
        yield url.rstrip('/'), settings.username, settings.password
        return
    login = 'bench', secrets.token_urlsafe(12)
    with local_couchdb.running(folder / 'couchdb', *login) as local:
        yield local, *login


if __name__ == '__main__':
    sys.exit(cli.ending(main))
