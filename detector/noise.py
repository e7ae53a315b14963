"""The noise of the simulated detectors, and the measurement of a noise spectrum.

All spectra are one-sided power spectral densities in ADU²/Hz, on the frequencies of the real Fourier
transform of a trace, 0 to SAMPLING/2. A transform V of n samples then has <|V|²> = PSD · SAMPLING · n / 2,
at the two ends too.
"""

from __future__ import annotations

import numpy as np

from detector.pulses import SAMPLES, SAMPLING, DetectorModel, FloatArray

STRETCH = 16  # lengths of a trace that are simulated in one go, to be cut
FLATTENING = 1.0  # Hz, below which the low-frequency noise does not grow any more, as the electronics are AC-coupled
OUTLIER = 5.0  # standard deviations, estimated robustly, above which a trace is not noise alone
MAD_TO_SIGMA = 1.4826  # of a normal distribution


def noise_psd(model: DetectorModel, frequencies: FloatArray) -> FloatArray:
    """Noise spectrum (ADU²/Hz) of a detector model at `frequencies` (Hz, any shape); same shape.

    White noise, noise falling as 1/f^α, and Lorentzian peaks for mains and microphonics.
    """
    frequencies = np.asarray(frequencies, dtype=float)
    low = (model.corner / np.hypot(frequencies, FLATTENING)) ** model.slope
    psd = model.white_noise * (1 + low)
    for line in model.noise_lines:
        distance = (frequencies - line.frequency) / line.half_width
        psd += line.variance / (np.pi * line.half_width * (1 + distance**2))
    return psd


def generate_noise(rng: np.random.Generator, model: DetectorModel, traces: int) -> FloatArray:
    """Simulated noise without the baseline, in ADU, of shape (traces, SAMPLES).

    Each trace is cut out of a stretch STRETCH times as long, so that it does not join up at its ends; every
    second length of the stretch is left out, so that traces are next to independent.
    """
    cuts = STRETCH // 2
    samples = STRETCH * SAMPLES
    stretches = -(-traces // cuts)
    power = noise_psd(model, np.fft.rfftfreq(samples, 1 / SAMPLING)) * SAMPLING * samples / 2
    parts = rng.standard_normal((stretches, power.size, 2)) * np.sqrt(power / 2)[:, np.newaxis]
    # At the two ends of the spectrum there is a real part only.
    parts[:, [0, -1]] *= np.sqrt(2)
    stretch = np.fft.irfft(parts.view(complex)[..., 0], samples)
    return stretch.reshape(stretches, cuts, 2, SAMPLES)[:, :, 0].reshape(-1, SAMPLES)[:traces]


def measured_psd(transforms: np.ndarray) -> tuple[FloatArray, np.ndarray]:
    """Noise spectrum of random triggers, and which of them it was made from.

    `transforms`: of their traces in ADU (traces, SAMPLES // 2 + 1). Returns the mean periodogram (SAMPLES // 2 + 1,
    ADU²/Hz; 0 at frequency 0, as the baseline is no noise) and a mask (traces,) of the traces that hold noise alone.
    The others, with a pulse in them for example, have more power than OUTLIER allows, relative to the median in each
    octave.
    """
    periodograms = np.square(transforms.real) + np.square(transforms.imag)  # np.abs makes a root of each first
    periodograms *= 2 / (SAMPLING * SAMPLES)
    periodograms[:, 0] = 0
    # Octaves, of equal weight: what does not belong into noise is mostly slow.
    octaves = np.add.reduceat(periodograms, 2 ** np.arange(int(np.log2(SAMPLES // 2))), axis=1)
    typical = np.median(octaves, axis=0)
    excess = (octaves / np.where(typical > 0, typical, 1)).sum(axis=1)
    middle = np.median(excess)
    spread = MAD_TO_SIGMA * np.median(np.abs(excess - middle))
    clean = excess <= middle + OUTLIER * spread
    return clean @ periodograms / np.count_nonzero(clean), clean
