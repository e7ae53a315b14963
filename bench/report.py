"""Tables for people."""

from __future__ import annotations

import statistics


def rates(title: str, figures: dict[str, list[float]]) -> None:
    """Print the median of each contender's rounds, their range, and its ratios to the others."""
    medians = {name: statistics.median(of_rounds) for name, of_rounds in figures.items()}
    _title(title)
    for name, median in medians.items():
        ratios = '  '.join(f'{median / other:6.2f} of {known}' for known, other in medians.items() if known != name)
        digits = 1 if median >= 10 else 3
        lowest, highest = (f'{end(figures[name]):.{digits}f}' for end in (min, max))
        print(f'{name:22} {median:9.{digits}f} ({lowest} to {highest})   {ratios}', flush=True)


def percentiles(title: str, figures: dict[str, dict[str, float]]) -> None:
    """Print percentiles of times, given in seconds, in ms, and the ratios of their medians."""
    _title(title)
    for name, of_it in figures.items():
        found = '  '.join(f'{label} {1000 * seconds:7.1f}' for label, seconds in of_it.items())
        others = ((known, other['p50']) for known, other in figures.items() if known != name)
        ratios = '  '.join(f'{of_it["p50"] / other:6.2f} of {known}' for known, other in others)
        print(f'{name:22} {found}   p50: {ratios}', flush=True)


def values(title: str, figures: dict[str, float]) -> None:
    """Print figures that are not compared."""
    _title(title)
    print('  '.join(f'{name}: {value:.2f}' for name, value in figures.items()), flush=True)


def table(title: str, found: dict[str, dict[str, float]]) -> None:
    """Print a line for each figure, with a column for each contender that has it."""
    _title(title)
    print(' ' * 36 + ''.join(f'{name:>22}' for name in found))
    for figure in dict.fromkeys(figure for of_it in found.values() for figure in of_it):
        cells = (f'{of_it[figure]:22.3f}' if figure in of_it else ' ' * 22 for of_it in found.values())
        print(f'{figure:36}{"".join(cells)}'.rstrip(), flush=True)


def _title(text: str) -> None:
    print(f'\n{text}')
