"""What needs somebody: steps that nobody works on, silent listeners, odd documents; and whether all is well."""

from __future__ import annotations

from edw.operating.at_work import ListenerStatus
from edw.operating.display import MINUTE, age, age_of, is_ahead, number, safe, shortened, step_name
from edw.operating.status import NAMED, Status, StepStatus

LONG = 60.0  # seconds that a document may wait for a listener that is there: the time between two of its sweeps


def nobody_listens(step: StepStatus) -> bool:
    """Whether documents wait for a step of which no listener is there.

    One of an older version, or of the original scripts, is only known of while it holds a document; and is at once at
    what waits.
    """
    return step.waiting > 0 and not step.listeners and not step.running


def is_left_alone(step: StepStatus, now: float) -> bool:
    """Whether documents wait for a step and nobody works on it.

    A listener that is there takes what waits at once, and holds claims while it works; between two batches it may hold
    none for a moment.
    """
    if step.waits_for is not None or not step.waiting or step.running:
        return False
    if step.done_newest is not None and now - step.done_newest < MINUTE + LONG:
        return False
    # Documents of the original scripts tell no time, nor does a clock that is ahead.
    if step.waiting_since is None or is_ahead(step.waiting_since, now):
        return not step.done_last_hour
    return now - step.waiting_since > LONG


def is_silent(listener: ListenerStatus, now: float, lease: float) -> bool:
    """Whether a listener holds claims and has shown no heartbeat for `lease` seconds, by its clock and by ours.

    For people only: listeners never compare clocks.
    """
    last = max((value for value in (listener.since, listener.heartbeat) if value is not None), default=None)
    return last is not None and now - last > lease


def remarks(status: Status, lease: float) -> list[str]:
    """What needs somebody, a line each: steps that nobody works on, silent listeners, wrong clocks, odd documents."""
    lines = []
    for step in status.steps:
        if step.waits_for is not None:
            since = age_of(step.waits_since, status.time)
            lines.append(f'{step_name(step.name)} waits for {since}: {safe(step.waits_for)}')
        if nobody_listens(step):
            lines.append(_nobody(step, status.time))
        elif is_left_alone(step, status.time):
            lines.append(f'{step_name(step.name)}: nobody works on it. {_waiting(step, status.time)}')
    for listener in status.listeners:
        if is_silent(listener, status.time, lease):
            last = listener.since if listener.heartbeat is None else listener.heartbeat
            lines.append(
                f'{safe(listener.name)} holds {number(listener.claims, "document")} of {safe(listener.step)}, '
                f'without a heartbeat for {age_of(last, status.time)}, if its clock is right'
            )
    for farm in status.farms:
        if farm.away:
            since = age_of(farm.since, status.time)
            lines.append(f'the farm of {safe(farm.step)} is away for {since}: {shortened(farm.away)}')
    lines += _clocks_ahead(status)
    for what, named in (
        ('documents in conflict', status.conflicts),
        ('no step takes these documents', status.unplaced),
    ):
        if named:
            more = f' (the first {NAMED})' if len(named) == NAMED else ''
            lines.append(f'{what}{more}: {", ".join(map(safe, named))}')
    return lines


def judged(status: Status, lease: float, max_wait: float | None) -> tuple[str, list[str]]:
    """What is wrong, on one line: documents that failed, or wait for longer than `max_wait` seconds.

    And the keys of all that, none where all is well, which stay the same while its numbers and ages change. Where no
    listener of their step is there, documents may wait for LONG, if `max_wait` is None.

    A document that is claimed by a listener without a heartbeat for `lease` seconds waits, too. Documents of the
    original scripts, that do not tell since when they wait, are not judged, unless nobody listens for them and the step
    was not done lately. Where a clock is ahead, so that nobody can tell it either, that is wrong.
    """
    wrong: list[str] = []
    keys: list[str] = []

    def add(key: str, text: str) -> None:
        keys.append(key)
        wrong.append(text)

    if status.failed:
        newest = sorted(status.failures, key=lambda failure: failure.newest or 0.0)[-1:]
        named = [f', {safe(failure.doc_id)}: {shortened(failure.error)}' for failure in newest]
        add('failed', f'{number(status.failed, "document")} failed{"".join(named)}')
        keys += [f'failed {failure.step} {failure.kind}' for failure in status.failures]
    for step in status.steps:
        if step.waits_for is not None:
            add(f'away {step.name}', f'{safe(step.name)} waits: {shortened(step.waits_for)}')
    for farm in status.farms:
        if farm.away:
            add(f'farm {farm.step}', f'the farm of {safe(farm.step)} is away: {shortened(farm.away)}')
    for step in status.steps:
        limit = LONG if max_wait is None else max_wait
        waits_long = step.waiting_since is not None and status.time - step.waiting_since > limit
        if nobody_listens(step) and (waits_long or (step.waiting_since is None and not step.done_last_hour)):
            add(f'nobody {step.name}', _nobody(step, status.time))
        elif max_wait is not None and waits_long:
            waiting = number(step.waiting, 'document')
            oldest = age_of(step.waiting_since, status.time)
            where = safe(step.name) or 'the first step'
            add(f'waiting {step.name}', f'{waiting} waiting for {where}, the oldest for {oldest}')
    if max_wait is not None:
        for listener in status.listeners:
            silent = is_silent(listener, status.time, lease)
            if silent and listener.since is not None and status.time - listener.since > max_wait:
                held = number(listener.claims, 'document')
                time = age_of(listener.since, status.time)
                where = f'{safe(listener.step)} held for {time} by {safe(listener.name)}'
                add(f'silent {listener.name}', f'{held} of {where}, which is silent')
        for text in _clocks_ahead(status):
            add('clock', text)
    if wrong:
        return '; '.join(wrong), keys
    return f'ok: {status.waiting} waiting, {status.running} running, {status.finished} finished', []


def _nobody(step: StepStatus, now: float) -> str:
    start = step.script or 'its listener'
    return f'nobody listens for {step_name(step.name)}: start {safe(start)}. {_waiting(step, now)}'


def _waiting(step: StepStatus, now: float) -> str:
    oldest = '' if step.waiting_since is None else f', the oldest for {age_of(step.waiting_since, now)}'
    return f'Waiting: {number(step.waiting, "document")}{oldest}'


def _clocks_ahead(status: Status) -> list[str]:
    """Times in the future, by the clock of the machine that asks: one of the two clocks is wrong."""
    times = [
        *((f'documents wait for {step_name(step.name)}', step.waiting_since) for step in status.steps),
        *((f'{safe(each.name)} has its heartbeat', each.heartbeat) for each in status.listeners),
        *((f'{safe(each.name)} has its claims', each.since) for each in status.listeners if each.heartbeat is None),
    ]
    return [
        f'a clock is wrong: {what} from {age(then - status.time)} in the future'
        for what, then in times
        if then is not None and is_ahead(then, status.time)
    ]
