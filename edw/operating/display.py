"""Times, ages and other people's text, fit for a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Collection, Sequence

from edw.redact import redact

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0  # seconds
FIRST_STEP = '(first step)'  # of new documents, where no step was ever done
LONGEST_ERROR = 160  # characters of an error in a table
LONGEST_TABLE = 20  # lines of a table of what would be done
UNITS = ('bytes', 'kB', 'MB', 'GB', 'TB', 'PB')
WIDE = 10_000  # columns where nobody looks: nothing is wrapped in a file or a pipe
INDENT = '    '  # of what stands below a line
AHEAD = 60.0  # seconds that the clocks of two machines may differ without a word


def safe(text: str) -> str:
    """`text` on one line, without secrets, and with everything escaped that a terminal would obey.

    That is control characters, but also marks that turn the direction of writing round, or cannot be seen.
    """
    shown = (char if char.isprintable() else char.encode('unicode_escape').decode('ascii') for char in redact(text))
    return ''.join(shown)


def shortened(text: str) -> str:
    """`text`, safe, and cut to LONGEST_ERROR."""
    text = safe(text)
    return text if len(text) <= LONGEST_ERROR else f'{text[: LONGEST_ERROR - 1]}…'


def age(seconds: float | None) -> str:
    """A time span as people say it; '-' for None. Of two clocks that differ a little, it is never less than 0."""
    if seconds is None:
        return '-'
    seconds = max(0.0, seconds)
    if seconds < MINUTE:
        return f'{seconds:.0f} s'
    if seconds < HOUR:
        return f'{seconds / MINUTE:.0f} min'
    if seconds < DAY:
        return f'{seconds / HOUR:.1f} h'
    return f'{seconds / DAY:.1f} days' if seconds < 1e6 * DAY else f'{seconds / DAY:.1g} days'


def age_of(then: float | None, now: float) -> str:
    """The time that has passed since `then`, both in seconds since the epoch; '-' for None."""
    return 'in the future' if is_ahead(then, now) else age(None if then is None else now - then)


def is_ahead(then: float | None, now: float) -> bool:
    """Whether the clock that gave `then` is ahead of the one that gives `now`, so that no age can be told."""
    return then is not None and then - now > AHEAD


def moment(seconds: float | None) -> str:
    """A time since the epoch as date and time here; '-' for None."""
    if seconds is None:
        return '-'
    try:
        return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f'{seconds:g} s'  # no year that a calendar has


def number(count: int, noun: str) -> str:
    """`1 document`, `2 documents`."""
    return f'{count} {noun}' if count == 1 else f'{count} {noun}s'


def first(items: Sequence[str], most: int, separator: str = ', ') -> str:
    """The first of some names, safe, and how many there are more."""
    more = f' and {len(items) - most} more' if len(items) > most else ''
    return separator.join(map(safe, items[:most])) + more


def step_name(name: str) -> str:
    """A step's name, safe; FIRST_STEP for ''."""
    return safe(name) or FIRST_STEP


def size(count: float) -> str:
    """A number of bytes as people say it, in steps of a thousand."""
    for unit in UNITS[:-1]:
        if abs(count) < 999.5:  # more would be rounded to 1e+03
            return f'{count:.0f} {unit}' if unit == UNITS[0] else f'{count:.3g} {unit}'
        count /= 1000
    return f'{count:.3g} {UNITS[-1]}'


def columns(lines: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lines of cells as plain text, safe, each column as wide as its widest cell; `right` are those of numbers."""
    cells = [[safe(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        '  '.join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def show_first(lines: Sequence[Sequence[str]], noun: str) -> None:
    """Print a table of as many lines as one reads, below the first; `noun` is for the others."""
    print(*columns(lines[: LONGEST_TABLE + 1]), sep='\n')
    if (more := len(lines) - 1 - LONGEST_TABLE) > 0:
        print(f'and {number(more, noun)}')


def show_groups(groups: Counter[tuple[str, str]]) -> None:
    """Print how many documents there are, by run and status."""
    lines = [(run, status, str(count)) for (run, status), count in sorted(groups.items())]
    show_first([('run', 'status', 'documents'), *lines], 'more line')


def entries(
    lines: Sequence[Sequence[str]], width: int, *, below: int = 1, right: Collection[int] = ()
) -> list[list[str]]:
    """As `columns`, a list of lines for each; where they are wider than `width`, the last cells stand below the others.

    So a path or an error stays in one piece: it has lines of its own, which end between words; so has its heading.
    `below` is how many cells they are.
    """
    whole = columns(lines, right)
    if max(map(len, whole), default=0) <= width:
        return [[line] for line in whole]
    above = columns([line[:-below] for line in lines], right)
    return [
        [head, *(part for cell in line[-below:] for part in wrapped(safe(cell), width))]
        for head, line in zip(above, lines, strict=True)
    ]


def wrapped(text: str, width: int, indent: str = INDENT) -> list[str]:
    """A text on lines of `width`, but for words that are longer, such as paths, which are not broken."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def place_lines(place: str, width: int, before: str = '', after: str = '') -> list[str]:
    """A database, with words `before` and `after`; where there is no room, the folder of its data stands below."""
    whole = f'{before}{place}{after}'
    url, _, folder = place.partition(' ')
    fits = len(whole) <= width or not folder
    return [safe(line) for line in ([whole] if fits else [f'{before}{url}{after}', f'{INDENT}{folder}'])]


def show_place(place: str) -> None:
    """Say at a script's start which database it works on."""
    print(*place_lines(place, screen_width(), before='database '), sep='\n', flush=True)


def screen_width() -> int:
    """Columns of the terminal that stdout is; where it is none, as many as anybody needs."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
