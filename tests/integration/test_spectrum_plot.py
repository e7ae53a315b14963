"""The picture of a spectrum, drawn."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from detector.spectrum import groups
from tests.unit.test_detector_spectrum import spectra


@pytest.mark.parametrize(('events', 'transparent'), [(0, True), (100, False), (2000, True), (20_000, False)])
def test_the_picture(events: int, transparent: bool) -> None:
    # Here, where one of several processes of tests comes; at the top all of them would import Matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from detector.spectrum_plot import figure

    seen = spectra(6, events, 2)
    made = figure(seen, 'ma22a000: 4 files', transparent)
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    assert canvas.get_width_height()[0] == 900 and len(made.axes) == 2
    corner = np.asarray(canvas.buffer_rgba())[0, 0]
    assert corner[3] == (0 if transparent else 255)
    all_of_it = [*(axes.get_tightbbox() for axes in made.axes), made.texts[0].get_window_extent()]
    assert all(made.bbox.x0 < box.x0 < box.x1 < made.bbox.x1 for box in all_of_it)
    assert all(made.bbox.y0 < box.y0 < box.y1 < made.bbox.y1 for box in all_of_it)
    assert not any(one.overlaps(other) for one, other in combinations(all_of_it, 2))
    for axes, spectrum in zip(made.axes, seen, strict=True):
        assert axes.get_xlabel() == 'energy (keV)' and axes.get_yscale() == 'log'
        assert axes.get_ylabel() == f'counts / ({spectrum.bin_width:g} keV)'
        labels = [text for text in axes.texts if text.get_text()]
        assert len(labels) == len(groups())
        widths = [label.get_text() for label in labels if 'FWHM' in label.get_text()]
        fitted = [line for line in spectrum.lines.values() if line]
        assert len(widths) == len(fitted)
        assert all(f'FWHM {line.fwhm:.2f} ± ' in text for line, text in zip(fitted, widths, strict=True))
        boxes = [label.get_window_extent() for label in labels]
        panel = axes.get_window_extent()
        assert all(panel.y0 < box.y0 and box.y1 < panel.y1 and box.x1 < panel.x1 for box in boxes)
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
