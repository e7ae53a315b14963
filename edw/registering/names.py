"""What the name of a data file says: its document's id, and the name of the mark that says that it is finished."""

from __future__ import annotations

import os
import re
from pathlib import Path

from edw.registering import runs

ROOT_ENDING = '.root'
DERIVED = '.amp.root'  # ending of the files that the analysis writes
FIELDS = ('{file}', '{id}', '{run}')  # of the pattern of a mark

LONGEST_CONDITION = 40  # characters of the kind of a run

UNPRINTABLE = re.compile(r'[\x00-\x1f\x7f-\x9f]')


def id_of(name: str) -> str:
    """Id of the document of a file of this name. It depends on nothing else, and so not on which file came first."""
    return name.removesuffix(ROOT_ENDING)


def unusable(path: Path, real: Path) -> str | None:
    """Why a file can get no document because of its name, or of the path that it leads to; None where it can."""
    for text, what in ((path.name, 'the file'), (str(real), 'what it leads to, or a folder of its path')):
        try:
            text.encode()
        except UnicodeEncodeError:
            return f'{os.fsencode(path)!r}: a document must be UTF-8; rename {what}'
        # It would break the lines of logs and lists apart, and is a slip of somebody's.
        if UNPRINTABLE.search(text):
            return f'{str(path)!r}: has control characters in its path; rename {what}'
    if path.name.startswith('_'):
        return f'{path}: a document id cannot begin with an underscore; rename the file'
    return None


def condition_problem(condition: str) -> str | None:
    """Why a text cannot name a kind of run, such as calibration; None where it can."""
    if not condition or len(condition) > LONGEST_CONDITION or any(not char.isprintable() for char in condition):
        return f'{condition!r} is no kind of run: 1 to {LONGEST_CONDITION} characters'
    return f'{condition!r} is no kind of run: it has blanks at its ends' if condition != condition.strip() else None


def mark_problem(pattern: str) -> str | None:
    """Why a pattern can be none of marks; None where it can."""
    left = pattern
    for field in FIELDS:
        left = left.replace(field, '')
    if left == pattern:
        return f'{pattern!r} holds none of {", ".join(FIELDS)}'
    if '/' in left or '{' in left or '}' in left:
        return f'{pattern!r} is no name of a file with {", ".join(FIELDS)} in it'
    return None if left else f'{pattern!r} is the name of the file itself'


def mark_of(pattern: str, name: str) -> str | None:
    """Name of the mark of a file, in the folder of that file; None for `{run}` where its name tells of no run."""
    run = runs.run_of(id_of(name))
    if '{run}' in pattern and run is None:
        return None
    fields = {'{file}': name, '{id}': id_of(name), '{run}': run or ''}
    return re.sub('|'.join(map(re.escape, FIELDS)), lambda match: fields[match[0]], pattern)
