"""A step of the chain, and what the outcome of its callback makes of a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edw import software
from edw.claiming import job
from edw.claiming.results import Update
from edw.engines.callbacks import HOSTNAME, Outcome, When
from edw.errors import SettingsError
from edw.model import documents
from edw.model.documents import Document

LONGEST_VERSION = 60  # characters of a step's own version


@dataclass(frozen=True)
class Step:
    """Its name, the step before it (0: none), and the status of documents that it fails on for good.

    `version` is its own, and `packages` are those whose versions entries tell beside it. `when` says which documents it
    is for; None: for all.
    """

    name: str
    after: str | int
    failed: str
    version: str = '1'
    packages: tuple[str, ...] = ()
    when: When | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SettingsError(f'a step needs a name, not {self.name!r}')
        if self.after != 0 and (not isinstance(self.after, str) or not self.after):
            raise SettingsError(f'step {self.name}: `after` is 0 or the name of the step before, not {self.after!r}')
        if self.after == self.name:
            raise SettingsError(f'step {self.name} would come after itself, for ever')
        if not isinstance(self.failed, str) or self.failed in ('', documents.GOOD):
            raise SettingsError(f'step {self.name}: `failed` is a status other than good, not {self.failed!r}')
        if not is_version(self.version):
            raise SettingsError(
                f'step {self.name}: `version` is a text like 1 or 2.1, of {LONGEST_VERSION} characters at most, '
                f'not {self.version!r}'
            )
        if not isinstance(self.packages, tuple) or not all(isinstance(name, str) and name for name in self.packages):
            raise SettingsError(f'step {self.name}: `packages` is a tuple of names, not {self.packages!r}')
        if self.when is not None and not callable(self.when):
            raise SettingsError(f'step {self.name}: `when` is a function of the document, not {self.when!r}')

    def made_by(self, outcome: Outcome) -> dict[str, Any]:
        """What an entry or a failure says of the software where the callback ran, as far as anybody knows."""
        found = outcome.software
        if found is None and outcome.hostname == HOSTNAME:  # it ended its process
            found = software.here(self.packages)
        return {**(found or {}), 'step': self.version}


def is_version(value: Any) -> bool:
    """Whether a value can be a step's own version."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_VERSION and value.isascii() and value.isprintable()


def success(doc: Document, outcome: Outcome, step: Step) -> Update:
    """Append the callback's entry, with name, hostname, times, pass and software, and release the document."""
    entry = {
        'name': step.name,
        'hostname': outcome.hostname,
        **({'job': job.current()} if job.current() else {}),
        **(outcome.entry or {}),
        'started': outcome.started,
        'finished': outcome.finished,
        **({'pass': number} if (number := documents.pass_of(doc, step.name)) > 1 else {}),
        'software': step.made_by(outcome),
    }
    entry['name'] = step.name  # the chain hangs on it, so that no callback may set another
    return Update(doc, lambda doc: documents.with_entry(doc, entry), entry)


def failure(doc: Document, outcome: Outcome, at: float, step: Step, attempts: int) -> tuple[Update, int, bool]:
    """Record an attempt that failed at the time `at`; returns the update, the attempt's number, and if it is the last.

    The last attempt, or one after which another is useless (`outcome.final`), also sets the status and releases
    the document; before that it stays claimed for the next attempt.
    """
    attempt = documents.next_attempt(doc, step.name, attempts)
    is_last = outcome.final or attempt >= attempts
    record = {
        'process': step.name,
        'error': outcome.error,
        **({'kind': outcome.kind} if outcome.kind else {}),
        **({'traceback': outcome.traceback} if outcome.traceback else {}),
        'hostname': outcome.hostname,
        'time': at,
        'attempt': attempt,
        'software': step.made_by(outcome),
    }

    def change(doc: Document) -> Document:
        recorded = documents.with_failure(doc, record)
        return documents.failed_for_good(recorded, step.failed) if is_last else recorded

    return Update(doc, change, record, is_failure=True), attempt, is_last


def status_alone(doc: Document, step: Step) -> Update:
    """Set the status of a failed document and release it, without a record: it may be too large for one."""
    return Update(doc, lambda doc: documents.failed_for_good(doc, step.failed))
