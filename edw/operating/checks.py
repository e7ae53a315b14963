"""Whether all is well, on one line: for cron, Nagios and the like."""

from __future__ import annotations

from edw.operating.at_work import is_silent
from edw.operating.display import age, number, safe, shortened
from edw.operating.status import Status


def judged(status: Status, lease: float, max_wait: float | None) -> tuple[str, bool]:
    """What is wrong, and whether nothing is: documents that failed, or wait for longer than `max_wait` seconds.

    A document that is claimed by a worker without a sign of life for `lease` seconds waits, too. Documents of the
    original scripts, that do not tell since when they wait, are not judged.
    """
    wrong = []
    if status.failed:
        newest = sorted(status.failures, key=lambda failure: failure.newest or 0.0)[-1:]
        named = [f', {safe(failure.doc_id)}: {shortened(failure.error)}' for failure in newest]
        wrong.append(f'{number(status.failed, "document")} failed{"".join(named)}')
    if max_wait is not None:
        for step in status.steps:
            if step.waiting_since is not None and status.time - step.waiting_since > max_wait:
                waiting = number(step.waiting, 'document')
                since = age(status.time - step.waiting_since)
                wrong.append(f'{waiting} waiting for {safe(step.name) or "the first step"}, the oldest for {since}')
        for worker in status.workers:
            silent = is_silent(worker, status.time, lease)
            if silent and worker.since is not None and status.time - worker.since > max_wait:
                held = number(worker.claims, 'document')
                since = age(status.time - worker.since)
                where = f'{safe(worker.step)} held for {since} by {safe(worker.worker)}'
                wrong.append(f'{held} of {where}, which is silent')
    if wrong:
        return '; '.join(wrong), False
    waiting = sum(step.waiting for step in status.steps)
    running = sum(worker.claims for worker in status.workers)
    return f'ok: {waiting} waiting, {running} running, {status.finished} finished', True
