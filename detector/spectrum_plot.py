"""Drawing energy spectra, with the lines of the source and what was fitted to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtr

from detector.calibration import FIT_WINDOW, Line
from detector.pulses import FloatArray
from detector.spectrum import HIGHEST, LOWEST, Spectrum, groups

SIZE = 9.0, 4.0  # inches, of one panel; 900 pixels wide at 100 dots per inch
# Inches around the panels, for what stands there. To have them found by matplotlib takes as long as the picture itself.
LEFT, RIGHT, BOTTOM, TOP, BETWEEN, TITLE = 0.56, 0.18, 0.45, 0.25, 0.7, 0.27
LABELS = 0.5  # of a panel's height, at its top, kept free for the labels of the lines
GAP = 0.015  # of a panel's height, between a label and the leader that joins it to its peak
SAMPLES = 400  # of a fitted curve
LOWEST_COUNTS = 0.5  # where the logarithmic axis of counts begins
LEAST_HIGHEST = 10.0  # counts, at least, where the labels begin

# Of the palette for all kinds of colour vision of M. Okabe & K. Ito (Color Universal Design, 2008).
DATA, FIT = '#0072B2', '#D55E00'  # blue, vermilion: both clear on white and on black
INK, INK_ON_ANY = '#262626', '#7D7D7D'  # the second has about the same contrast on white and on black


def figure(spectra: Sequence[Spectrum], title: str = '', transparent: bool = False) -> Figure:
    """A figure with a panel for each spectrum: the histogram, its fitted lines, and their energies and widths.

    `transparent` leaves out the background, and draws the text in a grey that can be read on light and dark pages.
    The figure belongs to no window and no global state; its `savefig` writes any of matplotlib's formats.
    """
    ink = INK_ON_ANY if transparent else INK
    width, height = SIZE[0], SIZE[1] * len(spectra)
    made = Figure(figsize=(width, height), dpi=100)
    made.patch.set_alpha(0.0 if transparent else 1.0)
    if title:
        # A name may hold dollar signs.
        made.suptitle(title, y=1 - 0.05 / height, color=ink, fontsize=13, parse_math=False)
    top = TOP + TITLE * bool(title)
    of_panels = height - BOTTOM - top - BETWEEN * (len(spectra) - 1)
    grid = {
        'left': LEFT / width,
        'right': 1 - RIGHT / width,
        'bottom': BOTTOM / height,
        'top': 1 - top / height,
        'hspace': BETWEEN * len(spectra) / of_panels,  # in heights of a panel
    }
    panels = made.subplots(len(spectra), squeeze=False, gridspec_kw=grid)[:, 0]
    for axes, spectrum in zip(panels, spectra, strict=True):
        _draw(axes, spectrum, ink)
    return made


def _draw(axes: Axes, spectrum: Spectrum, ink: str) -> None:
    axes.stairs(spectrum.counts, spectrum.edges, color=DATA, linewidth=0.8, fill=True, alpha=0.35)
    axes.stairs(spectrum.counts, spectrum.edges, color=DATA, linewidth=0.8)
    heights = [LEAST_HIGHEST, spectrum.counts.max(initial=0)]
    for energy, line in spectrum.lines.items():
        if line is not None:
            near = np.linspace(max(LOWEST, energy - FIT_WINDOW), min(HIGHEST, energy + FIT_WINDOW), SAMPLES)
            curve = _expected(line, near, spectrum.bin_width)
            axes.plot(near, curve, color=FIT, linewidth=1.2)
            heights.append(curve.max())
    _set_axes(axes, spectrum, max(heights), ink)
    for group in groups():
        _label(axes, spectrum, group, ink)


def _set_axes(axes: Axes, spectrum: Spectrum, highest: float, ink: str) -> None:
    # So that the highest peak ends where the labels begin.
    top = LOWEST_COUNTS * (highest / LOWEST_COUNTS) ** (1 / (1 - LABELS - 2 * GAP))
    # First the limits: matplotlib would look for its own, and warn where there are no events.
    axes.set_ylim(LOWEST_COUNTS, top)
    axes.set_yscale('log')
    axes.set_xlim(0, HIGHEST)
    axes.set_xlabel('energy (keV)', color=ink, fontsize=11)
    axes.set_ylabel(f'counts / ({spectrum.bin_width:g} keV)', color=ink, fontsize=11)
    axes.set_title(f'{spectrum.detector}, {spectrum.events} events', color=ink, fontsize=11, loc='left')
    axes.patch.set_alpha(0)
    axes.minorticks_on()
    axes.tick_params(which='both', color=ink, labelcolor=ink, labelsize=10, direction='in', right=True)
    for spine in axes.spines.values():
        spine.set_color(ink)


def _label(axes: Axes, spectrum: Spectrum, group: tuple[float, ...], ink: str) -> None:
    """Energies of lines, and the width where it was fitted, above the peak, with a leader from there."""
    line = spectrum.lines[group[0]]
    text = ', '.join(f'{energy:.1f}' for energy in group) + ' keV'
    if line is not None:
        text += f'\nFWHM {line.fwhm:.2f} ± {line.fwhm_uncertainty:.2f} keV'
    around = (spectrum.edges[1:] > group[0] - FIT_WINDOW) & (spectrum.edges[:-1] < group[-1] + FIT_WINDOW)
    peak = spectrum.counts[around].max(initial=0)
    if line is not None:
        peak = max(peak, _expected(line, np.array([line.position]), spectrum.bin_width)[0])
    axes.text(
        float(np.mean(group)),
        1 - LABELS,
        text,
        transform=axes.get_xaxis_transform(),
        rotation=90,
        rotation_mode='anchor',
        ha='left',
        va='center',
        color=ink,
        fontsize=9,
    )
    axes.annotate(
        '',
        xy=(float(np.mean(group)), max(peak, LOWEST_COUNTS)),
        xytext=(float(np.mean(group)), 1 - LABELS),
        textcoords=axes.get_xaxis_transform(),
        arrowprops={
            'arrowstyle': '-',
            'color': ink if line is None else FIT,
            'linewidth': 0.7,
            'linestyle': ':' if line is None else '-',
            'shrinkA': 3,
            'shrinkB': 3,
        },
    )


def _expected(line: Line, energies: FloatArray, bin_width: float) -> FloatArray:
    """Events that a fitted line and its background give in bins of a width, around the energies (n,); all in keV.

    Not the density in the middle: bins may be wider than the line.
    """
    above, below = ((energies + side * bin_width / 2 - line.position) / line.sigma for side in (1, -1))
    return line.background * bin_width + line.events * (ndtr(above) - ndtr(below))
