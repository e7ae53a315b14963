"""The simulated data acquisition: writes data files, and reads back the conditions they were taken under.

What the detectors see is a 133Ba calibration source, cosmogenic 71Ge in the crystals, and a continuum.

A data file is a ROOT file with
- tree `events`: event (int32), time (float64, s since the start), detector_a[1024], detector_b[1024] (int16, ADU);
- tree `noise`: random triggers, with the same traces;
- tree `truth`: event, energy_a, energy_b (keV; 0 where the detector was not hit), as only a simulation knows it;
- tree `header`, one entry: sampling_hz, samples, pretrigger (samples before the trigger), simulated (1);
- `conditions`: the run conditions as a JSON string;
- `condition`: the kind of run, such as calibration, where it is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uproot

from detector.calibration import BARIUM_LINES, GERMANIUM_LINE
from detector.noise import generate_noise
from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING, DetectorModel, FloatArray, pulse_shape
from detector.traces import DataFileError, opened_root, reading

CHUNK = 500  # events made and written at once
GAIN_SPREAD = 0.01  # relative, from file to file, as with the temperature
BASELINE_SPREAD = 50.0  # ADU, from trace to trace
JITTER = 0.5  # samples, at most, between the arrival of a pulse and the trigger
RATE = 0.3  # Hz, of the events
DEAD_TIME = 2.0  # s after a trigger
NOISE_FRACTION = 5  # events for each random trigger
FEWEST_NOISE = 32  # random triggers
ACCIDENTAL = 0.03  # of the random triggers, that catch a pulse

VOLTS = {'detector_a': [8, -8, 2, -2], 'detector_b': [4, -4, 1.5, -1.5]}  # on the electrodes
TEMPERATURE = 0.015, 0.016  # K, lowest and highest

BARIUM_PART = 0.60  # of the events
GERMANIUM_PART = 0.10  # of the events; the rest is continuum
SHARED_PART = 0.15  # of the events: a gamma that is scattered in one detector and absorbed in the other
FLAT_PART = 0.6  # of the continuum; the rest falls exponentially
FALL = 60.0  # keV, its decay constant
LOWEST, HIGHEST = 2.0, 380.0  # keV, ends of the continuum
SHARE = 0.05, 0.95  # of a shared gamma's energy in one of the detectors


class Header(NamedTuple):
    """What a data file says of its run: its conditions, and its kind. None where it says nothing that can be read."""

    conditions: dict[str, Any] | None = None
    condition: str | None = None


def take_file(path: Path, events: int, seed: list[int] | None, condition: str | None) -> dict[str, Any]:
    """Write a data file as `write_file` does, under conditions that are drawn; returns these."""
    rng = np.random.default_rng(seed)
    conditions: dict[str, Any] = {'volts': VOLTS, 'temperature': rng.uniform(*TEMPERATURE)}
    write_file(path, events, rng, conditions, condition)
    return conditions


def write_file(
    path: Path,
    events: int,
    rng: np.random.Generator | int | None,
    conditions: Mapping[str, Any] | None = None,
    condition: str | None = None,
) -> None:
    """Write a simulated data file of `events` events to `path`, over a file that is there.

    `rng` is a generator or the seed of one; the same seed gives the same events. The conditions must be
    what JSON can hold; `condition` is the kind of run. Raises ValueError for less than one event, and OSError if the
    file cannot be written.
    """
    if events < 1:
        raise ValueError(f'a data file has at least one event, not {events}')
    rng = np.random.default_rng(rng)
    gains = draw_gains(rng)
    trace = np.dtype((np.int16, (SAMPLES,)))
    traces = {model.name: trace for model in DETECTORS}
    energies_of = {'energy_a': np.float64, 'energy_b': np.float64}
    # Not compressed: noise hardly is, and reading would take several times as long.
    # Not by its path, in which `::` would be taken for a chain of file systems.
    with open(path, 'wb+') as stream, uproot.recreate(stream, compression=None) as file:
        # Made first and filled last: what a killed process leaves has no objects yet, or an empty header.
        file.mktree(
            'header', {'sampling_hz': np.float64, **dict.fromkeys(('samples', 'pretrigger', 'simulated'), np.int32)}
        )
        file.mktree('events', {'event': np.int32, 'time': np.float64, **traces})
        file.mktree('noise', traces)
        file.mktree('truth', {'event': np.int32, **energies_of})
        start = 0.0
        for first in range(0, events, CHUNK):
            number = np.arange(first, min(first + CHUNK, events), dtype=np.int32)
            energies = draw_energies(rng, number.size)
            times = start + np.cumsum(DEAD_TIME + rng.exponential(1 / RATE, number.size))
            start = times[-1]
            arrivals = PRETRIGGER + rng.uniform(-JITTER, JITTER, number.size)
            file['events'].extend({'event': number, 'time': times, **_traces(rng, gains, energies, arrivals)})
            file['truth'].extend({'event': number, 'energy_a': energies[:, 0], 'energy_b': energies[:, 1]})
        triggers = max(FEWEST_NOISE, events // NOISE_FRACTION)
        for first in range(0, triggers, CHUNK):
            number = np.arange(first, min(first + CHUNK, triggers))
            energies = draw_energies(rng, number.size)
            energies[rng.random(number.size) >= ACCIDENTAL] = 0
            file['noise'].extend(_traces(rng, gains, energies, rng.uniform(0, SAMPLES, number.size)))
        file['conditions'] = json.dumps(dict(conditions or {}))
        if condition is not None:
            file['condition'] = condition
        file['header'].extend(
            {'sampling_hz': [SAMPLING], 'samples': [SAMPLES], 'pretrigger': [PRETRIGGER], 'simulated': [1]}
        )


def read_header(path: Path) -> Header:
    """What a data file says of its run; nothing if it is no ROOT file that can be read."""
    try:
        with reading(path), opened_root(path) as file:
            conditions, condition = (str(file[name]) if name in file else None for name in Header._fields)
    except DataFileError:
        return Header()
    try:
        found = json.loads(conditions or '')
    except ValueError:
        found = None
    return Header(found if isinstance(found, dict) else None, condition)


def draw_gains(rng: np.random.Generator) -> FloatArray:
    """Simulated true gain (ADU per keV) of each detector in a file: the first that `write_file` draws."""
    spread = rng.normal(1, GAIN_SPREAD, len(DETECTORS)).clip(0.95, 1.05)
    return np.array([model.gain for model in DETECTORS]) * spread


def draw_energies(rng: np.random.Generator, events: int) -> FloatArray:
    """Simulated true energies in keV, of shape (events, 2): detector_a, detector_b; 0 where it was not hit."""
    lines, intensities = np.array(BARIUM_LINES).T
    gammas = rng.choice(lines, events, p=intensities / intensities.sum())
    flat = rng.uniform(LOWEST, HIGHEST, events)
    # Inverse of the cumulative distribution of an exponential that ends at HIGHEST.
    falling = LOWEST - FALL * np.log1p(rng.random(events) * np.expm1((LOWEST - HIGHEST) / FALL))
    continuum = np.where(rng.random(events) < FLAT_PART, flat, falling)
    kind = rng.random(events)
    energies = np.where(kind < BARIUM_PART, gammas, continuum)
    energies[(kind >= BARIUM_PART) & (kind < BARIUM_PART + GERMANIUM_PART)] = GERMANIUM_LINE
    part_in_a = np.where(rng.random(events) < 0.5, 1.0, 0.0)
    shared = rng.random(events) < SHARED_PART
    energies[shared] = gammas[shared]
    part_in_a[shared] = rng.uniform(*SHARE, np.count_nonzero(shared))
    return np.column_stack([energies * part_in_a, energies * (1 - part_in_a)])


def _traces(
    rng: np.random.Generator, gains: FloatArray, energies: FloatArray, arrivals: FloatArray
) -> dict[str, np.ndarray]:
    """Digitised traces of each detector, (events, SAMPLES); the arrivals are in samples, common to both."""
    return {
        model.name: _digitised(rng, model, gain * energy, arrivals)
        for model, gain, energy in zip(DETECTORS, gains, energies.T, strict=True)
    }


def _digitised(
    rng: np.random.Generator, model: DetectorModel, amplitudes: FloatArray, arrivals: FloatArray
) -> np.ndarray:
    traces = generate_noise(rng, model, amplitudes.size)
    traces += rng.normal(model.baseline, BASELINE_SPREAD, (amplitudes.size, 1))
    hit = amplitudes > 0
    times = (np.arange(SAMPLES) - arrivals[hit, np.newaxis]) / SAMPLING
    traces[hit] += amplitudes[hit, np.newaxis] * pulse_shape(model, times)
    limits = np.iinfo(np.int16)
    return np.rint(traces).clip(limits.min, limits.max).astype(np.int16)
