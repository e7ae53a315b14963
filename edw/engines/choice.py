"""Which engine runs the callbacks of a listener, and its start."""

from __future__ import annotations

from edw.config import ENGINES, PROCESSES, THREADS, Settings
from edw.engines.callbacks import Callback
from edw.engines.engine import Engine, Tell
from edw.engines.processes import Processes, cores
from edw.engines.threads import Threads
from edw.errors import SettingsError


def engine_of(step_engine: str, given: str | None, timeout: float | None, settings_engine: str) -> str:
    """Which engine: what was given, else that which knows a time limit, else that of the settings or of the step.

    Raises SettingsError for an engine that is none, or knows no time limit.
    """
    for engine in (step_engine, given or step_engine):
        if engine not in ENGINES:
            raise SettingsError(f'there is no engine {engine!r}, but {" and ".join(ENGINES)}')
    if timeout is not None and given == THREADS:
        raise SettingsError('a thread cannot be broken off: --timeout goes with --engine processes')
    if given is not None:
        return given
    return PROCESSES if timeout is not None else settings_engine or step_engine


def workers_of(engine: str, workers: int, farm: str) -> int:
    """How many callbacks run at once where `workers` are wanted; 0 of them are as many as the engine makes by itself.

    That is one thread, or as many processes as there are processors. 0 of a farm are all that it has.
    """
    return workers or (0 if farm else cores() if engine == PROCESSES else 1)


def start(
    engine: str,
    callback: Callback,
    settings: Settings,
    workers: int,
    timeout: float | None,
    tell: Tell,
    packages: tuple[str, ...] = (),
    *,
    farm: str = '',
    insecure: bool = False,
) -> Engine:
    """Start an engine; where the address of a `farm` is given, that one, whatever `engine` is.

    `workers` are as `workers_of` says. `packages` are those whose versions outcomes tell. Raises SettingsError.
    """
    workers = workers_of(engine, workers, farm)
    if farm:
        try:
            from edw.engines.farm import Farm  # a listener without one does without the package
        except ImportError as error:
            raise SettingsError(
                f'--farm needs the package distributed ({error}): python -m pip install -r requirements-farm.txt'
            ) from None
        return Farm(callback, settings, workers or None, timeout, tell, farm, packages, insecure=insecure)
    if engine == PROCESSES:
        return Processes(callback, settings, workers, timeout, tell, packages)
    return Threads(callback, settings, workers, tell, packages)
