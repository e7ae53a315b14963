"""Calibration spectra of analysed files, as numbers and as a picture."""

from __future__ import annotations

import io
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edw.config import Settings, using
from edw.errors import EdwError, StepError
from edw.redact import redact
from edw.transfer import is_url, local_copy

if TYPE_CHECKING:
    from detector.spectrum import Spectrum

STEP = 'signal_processing'  # whose entry names the file of amplitudes
MOST_FILES = 100  # put together in one spectrum
MOST_REMOTE = 10  # of them, at most, from other machines: each is copied first
KEPT = 32  # spectra
FRESH = 300  # seconds after which files of other machines are read again
PATIENCE = 20.0  # seconds to wait for the spectrum that is being made

Key = tuple[tuple[str, int], ...]  # files, with the time of their last change


@dataclass(frozen=True)
class Drawn:
    """A spectrum over some files; `missing` says which could not be read, and why; `left_out` were too many."""

    spectra: list[Spectrum]
    picture: bytes  # SVG
    files: int
    missing: list[str]
    left_out: int


class Spectra:
    """Makes spectra one at a time, and keeps the last KEPT."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: OrderedDict[Key, Drawn] = OrderedDict()
        self._lock = threading.Lock()  # one at a time: it is work for a processor, and browsers come in crowds

    def of(self, locations: list[str]) -> Drawn:
        """The spectrum over the files of amplitudes at some locations, paths or URLs; those it can read.

        Raises EdwError where others are before it for too long: a machine that does not answer holds up spectra only.
        """
        chosen = _chosen(locations)
        key = tuple((location, _changed(location)) for location in chosen)
        if not self._lock.acquire(timeout=PATIENCE):
            raise EdwError('Another spectrum is still being made. Try again in a minute.')
        try:
            if key not in self._kept:
                with using(self._settings):
                    self._kept[key] = _draw(chosen, len(locations) - len(chosen))
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]
        finally:
            self._lock.release()


def _chosen(locations: list[str]) -> list[str]:
    remote = [location for location in locations if is_url(location)][:MOST_REMOTE]
    local = [location for location in locations if not is_url(location)]
    return [*local, *remote][:MOST_FILES]


def _changed(location: str) -> int:
    if is_url(location):
        return int(time.monotonic() // FRESH)
    try:
        return Path(location).stat().st_mtime_ns
    except (OSError, ValueError):
        return -1  # not there; a name with a null character is none


def _draw(locations: list[str], left_out: int) -> Drawn:
    # Here, because they take a second, and most who look at the dashboard want no spectrum.
    from detector.spectrum import read_energies, spectra
    from detector.spectrum_plot import figure
    from detector.traces import DataFileError

    energies, missing = [], []
    for location in locations:
        try:
            if not is_url(location) and not Path(location).is_file():
                raise StepError(f'{location}: there is no such file')  # nor a pipe, which would never end
            with local_copy(location) as path:
                energies.append(read_energies(path))
        except (DataFileError, StepError, OSError, ValueError) as error:
            missing.append(redact(str(error)))
    made = spectra(energies) if energies else []
    picture = io.BytesIO()
    if made:
        figure(made, transparent=True).savefig(picture, format='svg', metadata={'Date': None})
    return Drawn(made, picture.getvalue(), len(energies), missing, left_out)
