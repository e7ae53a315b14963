"""What the name of a data file says: its document's id, and the name of the mark that says that it is finished."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

ROOT_ENDING = '.root'
DERIVED = '.amp.root'  # ending of the files that the analysis writes
RUN = '{run}'
FIELDS = ('{file}', '{id}', RUN)  # of the pattern of a mark

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


def pattern_problem(pattern: str) -> str | None:
    """Why a pattern can be none of data files; None where it can."""
    is_one = pattern and '/' not in pattern and not pattern.startswith('.')
    return None if is_one else f'{pattern!r} fits no name of a file that is not hidden'


def run_problem(run: str) -> str | None:
    """Why a text cannot name a run; None where it can."""
    return None if usable_as_run(run) else f'{run!r} can be no name of a run'


def run_pattern_problem(pattern: str) -> str | None:
    """Why a pattern can be none of runs; None where it can."""
    return None if pattern.count(RUN) == 1 else f'{pattern!r} does not hold {RUN} once'


def run_in(path: Path, pattern: str) -> str | None:
    """The run of a file, where `{run}` stands in a pattern of its name; None where it fits none.

    The rest is as the shell has it, and is of the name without `.root`. With slashes, so many folders above the file
    belong to it. The longest name of a run that fits is taken, of those that begin first.
    """
    wanted = pattern.split('/')
    parts = [*Path(os.path.abspath(path)).parent.parts, id_of(path.name)][-len(wanted) :]
    if len(parts) < len(wanted):
        return None
    found = None
    for text, part in zip(parts, wanted, strict=True):
        if RUN in part:
            found = _longest(text, *part.split(RUN))
        elif not fnmatchcase(text, part):
            return None
    return found if found is not None and usable_as_run(found) else None


def usable_as_run(name: str) -> bool:
    """Whether a run may have this name, which its document has when it is closed."""
    return bool(name) and not name.startswith('_') and name.isprintable() and '/' not in name


def _longest(text: str, before: str, after: str) -> str | None:
    for start in range(len(text)):
        if fnmatchcase(text[:start], before):
            for end in range(len(text), start, -1):
                if fnmatchcase(text[end:], after):
                    return text[start:end]
    return None


def mark_of(pattern: str, name: str, run: str | None) -> str | None:
    """Name of the mark of a file, in the folder of that file; None for `{run}` where nothing tells its run."""
    if RUN in pattern and run is None:
        return None
    fields = {'{file}': name, '{id}': id_of(name), '{run}': run or ''}
    return re.sub('|'.join(map(re.escape, FIELDS)), lambda match: fields[match[0]], pattern)
