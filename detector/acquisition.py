"""The simulated acquisition: writes files as a real one would, plus the true energies that a real one never knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray

from detector import noise, source
from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING, Detector, pulse_shape, trace_times

CHUNK = 500  # events simulated at once
RATE = 0.2  # Hz of triggers
GAIN_SPREAD = 0.01  # by which the gain of a file differs from the nominal one, as with the temperature
LEAST_RANDOM_TRIGGERS = 64
RANDOM_TRIGGERS = 5  # events for each random trigger


def write_file(path: Path, events: int, rng: np.random.Generator, conditions: dict[str, Any]) -> None:
    """Write a ROOT file of simulated events.

    Trees: `events` (event, time in s, a trace of SAMPLES int16 in ADU for each detector), `noise` (random
    triggers: the traces), `truth` (event, energy_a, energy_b in keV), `header` (sampling in Hz, samples before
    the trigger); and `conditions` as a JSON string. The same state of `rng` gives the same content.
    """
    true = source.energies(events, rng)
    gains = [detector.gain * rng.normal(1, GAIN_SPREAD) for detector in DETECTORS]
    random_triggers = max(LEAST_RANDOM_TRIGGERS, events // RANDOM_TRIGGERS)
    times = np.cumsum(rng.exponential(1 / RATE, events))
    traces = {detector.name: ('>i2', (SAMPLES,)) for detector in DETECTORS}
    with uproot.recreate(path) as file:
        file['conditions'] = json.dumps(conditions)
        file.mktree('header', {'sampling': 'f8', 'pretrigger': 'i4', 'samples': 'i4'})
        file['header'].extend(
            {'sampling': np.array([SAMPLING]), 'pretrigger': np.array([PRETRIGGER]), 'samples': np.array([SAMPLES])}
        )
        file.mktree('truth', {'event': 'i8', 'energy_a': 'f8', 'energy_b': 'f8'})
        file['truth'].extend({'event': np.arange(events), 'energy_a': true[0], 'energy_b': true[1]})
        file.mktree('noise', traces)
        file['noise'].extend(_digitised(np.zeros((2, random_triggers)), gains, rng))
        file.mktree('events', {'event': 'i8', 'time': 'f8', **traces})
        for start in range(0, events, CHUNK):
            chunk = slice(start, min(start + CHUNK, events))
            numbers = {'event': np.arange(events)[chunk], 'time': times[chunk]}
            file['events'].extend({**numbers, **_digitised(true[:, chunk], gains, rng)})


def read_conditions(path: Path) -> dict[str, Any]:
    """The run conditions that the acquisition left in a file; empty where it left none, or it is no ROOT file.

    Raises OSError where the file cannot be read at all.
    """
    with open(path, 'rb'):
        pass  # what no one may read is another matter than what says nothing
    try:
        with uproot.open(path) as file:
            conditions = json.loads(str(file['conditions']))
    except Exception:  # uproot raises many kinds of errors on a file that is none of ROOT's
        return {}
    return conditions if isinstance(conditions, dict) else {}


def _digitised(true: NDArray[np.float64], gains: list[float], rng: np.random.Generator) -> dict[str, NDArray[np.int16]]:
    """Traces in ADU of events with these true energies, shape (2, events), by detector: (events, SAMPLES)."""
    # The trigger is found at a sample; the interaction was up to half a sample before or after it.
    jitter = rng.uniform(-0.5, 0.5, true.shape[1]) / SAMPLING
    times = trace_times() - jitter[:, np.newaxis]
    return {
        detector.name: _trace(detector, gain, energy, times, rng)
        for detector, gain, energy in zip(DETECTORS, gains, true, strict=True)
    }


def _trace(
    detector: Detector,
    gain: float,
    energy: NDArray[np.float64],
    times: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    signal = noise.simulate(detector, len(energy), rng) + detector.baseline
    hit = energy > 0
    signal[hit] += gain * energy[hit, np.newaxis] * pulse_shape(detector, times[hit])
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(signal), limits.min, limits.max).astype(np.int16)
