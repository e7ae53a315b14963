"""The energy spectrum of analysed files: histograms, and position and resolution of the lines of the source."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.calibration import BARIUM_LINES, FEWEST_IN_FIT, FIT_WINDOW, GERMANIUM_LINE, Line, fit_line
from detector.pulses import DETECTORS, FloatArray
from detector.traces import DataFileError, check_start, no_branch, opened_root, reading, tree_of, type_of

TREE = 'amplitudes'
FILES = 'files'  # object of the summary of a run: names of its files, as JSON, in the order of their numbers
KNOWN_LINES = tuple(sorted((GERMANIUM_LINE, *(energy for energy, _ in BARIUM_LINES))))  # keV
LOWEST, HIGHEST = 2.0, 400.0  # keV, ends of the histogram; below are the events that left the detector alone
BIN_WIDTHS = 0.5, 1.0, 2.0  # keV; the finest is about half a line's width
FEWEST_IN_BIN = 1.0  # events, on average, for a bin width
LARGEST_UNCERTAINTY = 0.25  # relative, of the width of a line and of its events, for a fit that says something
LARGEST_SHIFT = 1.0  # keV, of a fitted line from where it belongs; more, and the fit took something else for it


@dataclass(frozen=True)
class Spectrum:
    """What one detector has seen."""

    detector: str
    events: int  # of the files; those outside the histogram too
    edges: FloatArray  # (bins + 1,) keV, evenly spaced
    counts: NDArray[np.integer[Any]]  # (bins,) events
    lines: Mapping[float, Line | None]  # of KNOWN_LINES, by energy in keV; None for those that could not be fitted

    @property
    def bin_width(self) -> float:
        """In keV."""
        return float(self.edges[1] - self.edges[0])


def read_energies(path: Path) -> dict[str, FloatArray]:
    """Energies (events,) in keV of each detector, by its name, from a file that `analyse` wrote.

    Of all events: as the analysis, this makes no cut on chi2. A file that several of those were merged into, as ROOT's
    hadd does it, is as good. Raises DataFileError if the file is not there, empty, cut short, not closed, no ROOT file,
    or not one of amplitudes.
    """
    branches = {model.name: f'amplitude_{model.name.rpartition("_")[2]}' for model in DETECTORS}
    check_start(path)
    with reading(path), opened_root(path) as file:
        tree = tree_of(path, file, TREE, 'a file of amplitudes')
        for branch in branches.values():
            number = type_of(tree, branch)
            if number is None or number.kind not in 'fiu' or number.shape:
                raise no_branch(path, tree, branch, 'numbers')
        columns = tree.arrays(list(branches.values()), library='np')
    if not tree.num_entries:
        raise DataFileError(f'{path}: no events')
    return {name: np.asarray(columns[branch], dtype=float) for name, branch in branches.items()}


def files_in(path: Path) -> list[str]:
    """Names of the files whose events the summary of a run holds; none for a file that is no summary.

    Raises DataFileError as `read_energies` does where it cannot be read.
    """
    check_start(path)
    with reading(path), opened_root(path) as file:
        names = file.get(FILES)
    try:
        found = json.loads(str(names))
    except ValueError:
        return []  # somebody else's object, or none
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def pooled_spectra(paths: Iterable[Path]) -> list[Spectrum]:
    """The spectrum of each detector, over all files together. Raises DataFileError, for no files too."""
    return spectra([read_energies(path) for path in paths])


def spectra(files: list[dict[str, FloatArray]]) -> list[Spectrum]:
    """The spectrum of each detector, over what `read_energies` read of several files.

    Each file has been calibrated by itself, so that their energies can be put together as they are.
    Raises DataFileError for no files.
    """
    if not files:
        raise DataFileError('no files to make a spectrum of')
    return [spectrum_of(model.name, np.concatenate([file[model.name] for file in files])) for model in DETECTORS]


def spectrum_of(detector: str, energies: FloatArray) -> Spectrum:
    """Histogram and lines of the energies (n,) in keV of one detector."""
    inside = np.count_nonzero((energies >= LOWEST) & (energies < HIGHEST))
    fine_enough = (width for width in BIN_WIDTHS if inside * width >= FEWEST_IN_BIN * (HIGHEST - LOWEST))
    width = next(fine_enough, BIN_WIDTHS[-1])
    edges = np.linspace(LOWEST, HIGHEST, round((HIGHEST - LOWEST) / width) + 1)
    counts, _ = np.histogram(energies, edges)
    return Spectrum(detector, energies.size, edges, counts, {energy: _fit(energies, energy) for energy in KNOWN_LINES})


def groups() -> list[tuple[float, ...]]:
    """The known lines (keV), those together that are in the window of each other's fit.

    Only a line that is alone in its group is fitted: the fit is one of a single peak.
    """
    found: list[tuple[float, ...]] = []
    for energy in KNOWN_LINES:
        if found and energy - found[-1][-1] < FIT_WINDOW:
            found[-1] += (energy,)
        else:
            found.append((energy,))
    return found


def _fit(energies: FloatArray, energy: float) -> Line | None:
    line = fit_line(energies, energy, FEWEST_IN_FIT) if (energy,) in groups() else None
    if line is None or abs(line.position - energy) > LARGEST_SHIFT:
        return None
    relative = line.sigma_uncertainty / line.sigma, line.events_uncertainty / line.events
    return line if max(relative) < LARGEST_UNCERTAINTY else None
