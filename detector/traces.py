"""Reading data files: the one place where all that can be wrong with a ROOT file becomes one kind of error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uproot
from numpy.typing import NDArray

from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING

STEP = 2000  # events read at once

Traces = dict[str, NDArray[np.int16]]


class DataFileError(Exception):
    """A file that cannot be read as a data file. The text names it and the reason, in one line."""


@dataclass(frozen=True)
class DataFile:
    """An open data file: its number of events, and the random triggers by detector, (triggers, SAMPLES)."""

    events: int
    noise: Traces
    _tree: uproot.TTree

    def read(self) -> Iterator[tuple[NDArray[np.int64], Traces]]:
        """Event numbers and traces by detector, (events, SAMPLES), STEP events at a time."""
        branches = ['event', *(detector.name for detector in DETECTORS)]
        for start in range(0, self.events, STEP):
            chunk = self._tree.arrays(branches, entry_start=start, entry_stop=start + STEP, library='np')
            yield chunk.pop('event'), chunk


@contextlib.contextmanager
def open_data_file(path: Path) -> Iterator[DataFile]:
    """Open a data file for the time of the block. Raises DataFileError, also for what is found while reading."""
    try:
        with uproot.open(path) as file:
            header = file['header'].arrays(library='np')
            layout = tuple(float(header[name][0]) for name in ('sampling', 'pretrigger', 'samples'))
            if layout != (SAMPLING, PRETRIGGER, SAMPLES):
                raise DataFileError(f'{path}: has traces of another kind: {layout} in sampling, pretrigger, samples')
            noise = file['noise'].arrays([detector.name for detector in DETECTORS], library='np')
            yield DataFile(file['events'].num_entries, noise, file['events'])
    except DataFileError:
        raise
    except FileNotFoundError:
        raise DataFileError(f'{path}: no such file') from None
    # Whatever uproot meets in a damaged file, from struct.error to a failed decompression.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [''])[0]
        raise DataFileError(f'{path}: cannot be read as a data file: {type(error).__name__}: {reason}') from error
