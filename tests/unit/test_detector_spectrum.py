"""Spectra, against lines of known position and width."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import uproot

from detector.acquisition import draw_energies, write_file
from detector.analysis import analyse
from detector.calibration import SIGMA_TO_FWHM
from detector.pulses import DETECTORS
from detector.spectrum import (
    BIN_WIDTHS,
    HIGHEST,
    KNOWN_LINES,
    LOWEST,
    Spectrum,
    groups,
    pooled_spectra,
    read_energies,
    spectrum_of,
)
from detector.traces import DataFileError

SIGMA = 0.38  # keV, of the energies that are made here
STRONG = 356.013  # keV


def energies(rng: np.random.Generator, events: int) -> np.ndarray:
    """What a detector of this resolution sees of so many events, keV."""
    return draw_energies(rng, events)[:, 0] + rng.normal(0, SIGMA, events)


@cache
def spectra(seed: int, events: int, number: int) -> list[Spectrum]:
    """Spectra of so many events each, made once for all tests that ask for the same ones."""
    rng = np.random.default_rng(seed)
    return [spectrum_of(f'detector_{index}', energies(rng, events)) for index in range(number)]


def amplitudes_file(path: Path, events: int, seed: int = 1, tree: str = 'amplitudes', letters: str = 'ab') -> Path:
    rng = np.random.default_rng(seed)
    with uproot.recreate(path) as file:
        columns = {'event': np.arange(events, dtype=np.int32)}
        columns |= {f'amplitude_{letter}': energies(rng, events) for letter in letters}
        file.mktree(tree, {name: column.dtype for name, column in columns.items()})
        if events:
            file[tree].extend(columns)
    return path


@pytest.mark.slow
def test_lines_of_an_analysed_file(tmp_path: Path) -> None:
    write_file(tmp_path / 'x.root', 2000, 11)
    summary = analyse(tmp_path / 'x.root', tmp_path / 'x.amp.root')
    found = pooled_spectra([tmp_path / 'x.amp.root'])
    assert [spectrum.detector for spectrum in found] == [model.name for model in DETECTORS]
    for spectrum in found:
        resolution = SIGMA_TO_FWHM * summary.detectors[spectrum.detector].theoretical_resolution
        lines = {energy: line for energy, line in spectrum.lines.items() if line}
        assert {10.37, 302.851, STRONG} <= set(lines)
        for energy, line in lines.items():
            assert abs(line.position - energy) < 4 * line.position_uncertainty
            assert abs(line.fwhm - resolution) < 4 * line.fwhm_uncertainty


@pytest.mark.slow
@pytest.mark.parametrize('energy', [10.37, 302.851, STRONG])
def test_uncertainties_are_standard_deviations(energy: float) -> None:
    lines = [spectrum.lines[energy] for spectrum in spectra(2, 3000, 100)]
    positions = np.array([(line.position - energy) / line.position_uncertainty for line in lines])
    widths = np.array([(line.sigma - SIGMA) / line.sigma_uncertainty for line in lines])
    counts = np.array([line.events for line in lines])
    # The standard deviation of 100 values has an error of 7 %, their mean one of 0.1.
    for pulls in (positions, widths):
        assert 0.75 < pulls.std() < 1.3 and abs(pulls.mean()) < 0.5
    assert np.mean([line.events_uncertainty for line in lines]) == pytest.approx(counts.std(), rel=0.3)


def test_files_together_have_the_statistics_of_all(tmp_path: Path) -> None:
    paths = [amplitudes_file(tmp_path / f'{seed}.amp.root', 2500, seed) for seed in range(4)]
    alone, together = pooled_spectra(paths[:1])[0], pooled_spectra(paths)[0]
    assert together.events == 4 * alone.events == 10_000
    part, whole = alone.lines[STRONG], together.lines[STRONG]
    assert 0.4 < whole.fwhm_uncertainty / part.fwhm_uncertainty < 0.6
    assert 0.4 < whole.position_uncertainty / part.position_uncertainty < 0.6
    assert abs(whole.sigma - SIGMA) < 4 * whole.sigma_uncertainty
    # A line that is too weak for one file.
    assert together.lines[53.162] is not None and alone.lines[53.162] is None


def test_a_continuum_has_no_lines() -> None:
    rng = np.random.default_rng(3)
    for events in (20, 200, 2000, 20_000):
        for _ in range(5):
            assert not any(spectrum_of('x', rng.uniform(0, HIGHEST, events)).lines.values())


def test_lines_close_together_are_not_fitted_as_one() -> None:
    assert (79.614, 80.998) in groups() and (STRONG,) in groups()
    assert sorted(energy for group in groups() for energy in group) == list(KNOWN_LINES)
    lines = spectrum_of('x', energies(np.random.default_rng(4), 20_000)).lines
    assert list(lines) == list(KNOWN_LINES) and lines[79.614] is None and lines[80.998] is None


@pytest.mark.parametrize(('events', 'width'), [(0, 2.0), (100, 2.0), (450, 1.0), (5000, 0.5)])
def test_bins(events: int, width: float) -> None:
    values = np.random.default_rng(5).uniform(LOWEST, HIGHEST, events)
    outside = np.array([-3.0, 0.1, LOWEST - 0.01, HIGHEST + 0.01, np.nan])
    spectrum = spectrum_of('x', np.concatenate([values, outside]))
    assert spectrum.bin_width == width and width in BIN_WIDTHS
    assert spectrum.edges[0] == LOWEST and spectrum.edges[-1] == HIGHEST
    assert spectrum.counts.shape == (spectrum.edges.size - 1,)
    assert spectrum.counts.sum() == events and spectrum.events == events + outside.size


def fails(path: Path, reason: str) -> None:
    with pytest.raises(DataFileError, match=reason) as caught:
        read_energies(path)
    message = str(caught.value)
    assert str(path) in message and '\n' not in message and len(message) < 400


def test_files_that_are_none_of_amplitudes(tmp_path: Path) -> None:
    fails(tmp_path / 'none.amp.root', 'No such file')
    fails(tmp_path, 'directory')
    (tmp_path / 'empty').touch()
    fails(tmp_path / 'empty', 'an empty file')
    (tmp_path / 'text').write_text('no ROOT\n' * 100)
    fails(tmp_path / 'text', 'not a ROOT file')
    write_file(tmp_path / 'data.root', 3, 1)
    fails(tmp_path / 'data.root', "not a file of amplitudes, it has no tree 'amplitudes'")
    fails(amplitudes_file(tmp_path / 'half', 10, letters='a'), "no branch 'amplitude_b'")
    fails(amplitudes_file(tmp_path / 'no events', 0), 'no events')
    with pytest.raises(DataFileError, match='null'):
        read_energies(Path('a\0b'))
    with pytest.raises(DataFileError, match='no files'):
        pooled_spectra([])


def test_files_cut_short(tmp_path: Path) -> None:
    path = amplitudes_file(tmp_path / 'x.amp.root', 200)
    content = path.read_bytes()
    for length in range(1, len(content), len(content) // 60):
        path.write_bytes(content[:length])
        fails(path, 'not a ROOT file|cut short|cannot be read as a ROOT file')
