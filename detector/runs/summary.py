"""The analysis of a run: all events of its files, filtered and calibrated with what all files tell together."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import uproot

from detector.analysis import BLAS, LOG_LINE, MOST_NOISE, STEP, noise_of
from detector.calibration import SIGMA_TO_FWHM, Gain
from detector.optimum_filter import FREQUENCIES, OptimumFilter, amplitudes_without_search, fit_pulses, make_filter
from detector.pulses import DETECTORS, DetectorModel, FloatArray
from detector.runs.gains import run_gains
from detector.spectrum import FILES, TREE, Spectrum, spectrum_of
from detector.template import PulseSum, Template, baselines, sum_pulses, template_of
from detector.traces import DataFileError, event_steps, opened, random_triggers

COLUMNS = 'amplitude', 'uncertainty', 'chi2', 'baseline'  # of each detector
DIGITS = 6  # that numbers are rounded to for `findings`

# A data file: opens it for reading, as often as it is called, in a block of its own.
Source = Callable[[], AbstractContextManager[Path]]


@dataclass(frozen=True)
class DetectorInRun:
    """What the analysis of a run found out about one detector."""

    gains: Sequence[Gain]  # of each file
    template: Template
    theoretical_resolution: float  # keV, σ of an amplitude for this template and noise spectrum
    baseline_resolution: float  # keV, σ of the amplitudes of random triggers
    spectrum: Spectrum

    @property
    def gain(self) -> float:
        """The mean over the files, in ADU per keV."""
        return float(np.mean([gain.value for gain in self.gains]))

    @property
    def without_gain(self) -> int:
        """How many files have too few events in the lines for a gain of their own."""
        return sum(gain.nominal for gain in self.gains)

    @property
    def findings(self) -> dict[str, Any]:
        """What is worth keeping, as JSON has it: full widths at half maximum in keV, the mean gain in ADU per keV."""
        return {
            'baseline_fwhm': _rounded(SIGMA_TO_FWHM * self.baseline_resolution),
            'theoretical_fwhm': _rounded(SIGMA_TO_FWHM * self.theoretical_resolution),
            'gain': _rounded(self.gain),
            'files_without_gain': self.without_gain,
            'template_pulses': self.template.pulses,
            'lines': [
                {
                    'energy': energy,
                    'fwhm': _rounded(line.fwhm),
                    'fwhm_uncertainty': _rounded(line.fwhm_uncertainty),
                    'counts': _rounded(line.events),
                    'counts_uncertainty': _rounded(line.events_uncertainty),
                }
                for energy, line in self.spectrum.lines.items()
                if line is not None
            ],
        }


@dataclass(frozen=True)
class RunSummary:
    """What the analysis of a run found out."""

    files: int
    events: int
    detectors: Mapping[str, DetectorInRun]  # by name

    @property
    def findings(self) -> dict[str, Any]:
        """What is worth keeping, as JSON has it: how many files and events, and `DetectorInRun.findings` of each."""
        detectors = {name: detector.findings for name, detector in self.detectors.items()}
        return {'files': self.files, 'events': self.events, 'detectors': detectors}

    def draw(self, path: Path, title: str) -> None:
        """Draw the spectrum of each detector into a PDF. Raises OSError."""
        # Here: Matplotlib takes half a second, and only who draws should wait for it.
        from detector.spectrum_plot import figure

        spectra = [detector.spectrum for detector in self.detectors.values()]
        # Without the date, the same spectra are the same bytes.
        figure(spectra, title).savefig(path, format='pdf', metadata={'CreationDate': None})

    @property
    def log(self) -> str:
        """One line for people."""
        parts = [f'{name}: {_in_words(detector)}' for name, detector in self.detectors.items()]
        files, events = (f'{n} {what}{"s" * (n != 1)}' for n, what in ((self.files, 'file'), (self.events, 'event')))
        return '; '.join([f'{events} of {files}', *parts])


@dataclass(frozen=True)
class _Prepared:
    """A detector, ready for the pulses of the run."""

    model: DetectorModel
    template: Template
    optimum_filter: OptimumFilter


def summarise(sources: Mapping[str, Source], target: Path) -> RunSummary:
    """Analyse the data files of a run, each with its name, and write the result to `target`, over a file that is there.

    Each is read twice: for the noise spectrum and the template, which all files share, and then for the amplitudes. One
    gain for all would smear the lines, as it follows the temperature: see `gains`. The target is a ROOT file with the
    tree `amplitudes` as `analyse` writes it, and one more column: file (int32), the place of the event's file in the
    JSON list `files`, which is in the target, too, and holds the names. In memory are one step of events, and 16 bytes
    for each event of the run; what else is known of events waits on disk, beside the target.

    Raises DataFileError if there are no files, or one of them cannot be analysed, and OSError if the target, or what is
    beside it for a while, cannot be written.
    """
    if not sources:
        raise DataFileError('no data files to analyse')
    amplitudes: list[list[FloatArray]] = [[] for _ in DETECTORS]
    quiet: list[list[FloatArray]] = [[] for _ in DETECTORS]
    with BLAS.limit(limits=1), tempfile.TemporaryFile(dir=target.parent) as spool:
        prepared = _prepare(sources.values())
        for source in sources.values():
            with source() as path:
                for kept, of_file in zip((amplitudes, quiet), _filter(path, prepared, spool), strict=True):
                    for of_detector, found in zip(kept, of_file, strict=True):
                        of_detector.append(found)
        detectors = [_calibrated(*parts) for parts in zip(prepared, amplitudes, quiet, strict=True)]
        events = _write(target, list(sources), prepared, detectors, amplitudes, spool)
    names = [model.name for model in DETECTORS]
    return RunSummary(len(sources), events, dict(zip(names, detectors, strict=True)))


def _prepare(sources: Iterable[Source]) -> list[_Prepared]:
    """Noise spectrum, template and filter of each detector, from the beginning of each file."""
    noise = np.zeros((len(DETECTORS), FREQUENCIES.size))
    triggers = np.zeros(len(DETECTORS))
    pulses = [PulseSum()] * len(DETECTORS)
    for source in sources:
        with source() as path, opened(path) as file:
            traces, first = random_triggers(file, MOST_NOISE), next(event_steps(file, STEP))
            for index, model in enumerate(DETECTORS):
                found = noise_of(path, model, traces[model.name])
                noise[index] += found.psd * len(found.transforms)
                triggers[index] += len(found.transforms)
                # Delays and amplitudes of bright pulses hardly depend on whose noise spectrum it is.
                pulses[index] += sum_pulses(model, first[model.name], found.psd)
    templates = [template_of(*parts) for parts in zip(DETECTORS, pulses, strict=True)]
    return [
        _Prepared(model, template, make_filter(template.spectrum, summed / number))
        for model, template, summed, number in zip(DETECTORS, templates, noise, triggers, strict=True)
    ]


def _filter(path: Path, prepared: Sequence[_Prepared], spool: IO[bytes]) -> tuple[list[FloatArray], list[FloatArray]]:
    """Of each detector the amplitudes (n,) of a file's events, and those of its random triggers, in ADU.

    What else is known of the events is added to the spool.
    """
    filters = [part.optimum_filter for part in prepared]
    columns, quiet = [], []
    with opened(path) as file:
        traces = random_triggers(file, MOST_NOISE)
        for part in prepared:
            noise = noise_of(path, part.model, traces[part.model.name])
            quiet.append(amplitudes_without_search(part.optimum_filter, noise.transforms))
        for step in event_steps(file, STEP):
            events = [step[part.model.name] for part in prepared]
            fit = fit_pulses(filters, events)
            columns.append(np.vstack([step['event'], fit.chi2, [baselines(part) for part in events], fit.amplitude]))
    of_file = np.hstack(columns)
    rows = len(of_file) - len(prepared)
    np.save(spool, of_file[:rows])
    return list(of_file[rows:].copy()), quiet


def _calibrated(part: _Prepared, amplitudes: Sequence[FloatArray], quiet: Sequence[FloatArray]) -> DetectorInRun:
    """A detector, from the amplitudes (n,) in ADU of the events and of the random triggers of each file."""
    model, resolution = part.model, part.optimum_filter.resolution
    gains = run_gains(amplitudes, model.gain, resolution / model.gain)
    noise = np.concatenate([found / gain.value for found, gain in zip(quiet, gains, strict=True)])
    energies = np.concatenate([found / gain.value for found, gain in zip(amplitudes, gains, strict=True)])
    theoretical = float(np.mean([resolution / gain.value for gain in gains]))
    baseline = float(np.sqrt(np.mean(np.square(noise))))
    return DetectorInRun(gains, part.template, theoretical, baseline, spectrum_of(model.name, energies))


def _write(
    target: Path,
    names: Sequence[str],
    prepared: Sequence[_Prepared],
    detectors: Sequence[DetectorInRun],
    amplitudes: Sequence[Sequence[FloatArray]],
    spool: IO[bytes],
) -> int:
    """Write the result, file by file; returns the number of events."""
    letters = [part.model.name.rpartition('_')[2] for part in prepared]
    types: dict[str, type] = {'file': np.int32, 'event': np.int32}
    types |= {f'{column}_{letter}': np.float64 for letter in letters for column in COLUMNS}
    total = 0
    spool.seek(0)
    # Not by its path, in which `::` would be taken for a chain of file systems.
    with open(target, 'wb+') as stream, uproot.recreate(stream, compression=None) as result:
        result[FILES] = json.dumps(list(names))
        result.mktree(TREE, types)
        for number in range(len(names)):
            event, *rest = np.load(spool)
            chi2, means = rest[: len(prepared)], rest[len(prepared) :]
            columns = {'file': np.full(event.size, number, np.int32), 'event': event.astype(np.int32)}
            for index, (letter, part, found) in enumerate(zip(letters, prepared, detectors, strict=True)):
                gain = found.gains[number].value
                columns[f'amplitude_{letter}'] = amplitudes[index][number] / gain
                columns[f'uncertainty_{letter}'] = np.full(event.size, part.optimum_filter.resolution / gain)
                columns[f'chi2_{letter}'], columns[f'baseline_{letter}'] = chi2[index], means[index]
            result[TREE].extend(columns)
            total += event.size
    return total


def _in_words(detector: DetectorInRun) -> str:
    line = detector.spectrum.lines[LOG_LINE]
    parts = [f'{LOG_LINE:.1f} keV FWHM {line.fwhm:.2f} ± {line.fwhm_uncertainty:.2f} keV'] if line else []
    parts.append(f'baseline FWHM {SIGMA_TO_FWHM * detector.baseline_resolution:.2f} keV')
    if without := detector.without_gain:
        parts.append(f'{without} file{"s" * (without != 1)} without a gain of {"their" if without > 1 else "its"} own')
    return ', '.join([*parts, *['nominal template'] * detector.template.nominal])


def _rounded(value: float) -> float | None:
    """To DIGITS digits; None for infinity, which JSON has no way to write."""
    return float(f'{value:.{DIGITS}g}') if math.isfinite(value) else None
