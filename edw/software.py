"""What made a file: the suite's version and commit, Python, and the packages that a step names."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from edw import __version__

PROJECT = Path(__file__).resolve().parent.parent
LONGEST = 220  # bytes of the packages as JSON: they stand in every entry, whose software is to be under 400
PATIENCE = 10.0  # seconds for git, which may read a folder on a server that is away

log = logging.getLogger(__name__)


@cache
def here(packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """The software of this process, as entries and failures have it; what is unknown is left out.

    To be asked for when a process starts: what lies in the folder later, others may have put there.
    """
    commit = commit_of(PROJECT)
    found: dict[str, Any] = {'edw': __version__, **({'commit': commit} if commit else {})}
    found['python'] = sys.version.split()[0]
    versions = {name: version for name in packages if (version := _version_of(name))}
    if (size := len(json.dumps(versions))) > LONGEST:
        log.warning('packages of the step: what is said of them takes %d bytes, %d at most: name fewer', size, LONGEST)
    elif versions:
        found['packages'] = versions
    return found


def commit_of(folder: Path) -> str | None:
    """Short hash of the commit that a folder is at, with + where its Python files were changed; None where unknown.

    Without git it is in the file `edw/COMMIT`, into which `git archive` writes it, and so does who builds an image.
    """
    if (folder / '.git').exists():  # not that of a repository which this folder only lies in
        return _of_git(folder)
    try:
        # Empty, or still git's own `$Format…`, where nobody wrote it.
        written = (folder / 'edw' / 'COMMIT').read_text(encoding='ascii').strip()
    except (OSError, ValueError):
        return None
    return written if written.removesuffix('+').isalnum() else None


def _of_git(folder: Path) -> str | None:
    try:
        commit = _git(folder, 'rev-parse', '--short', 'HEAD')
        changed = _git(folder, 'status', '--porcelain', '--untracked-files=no', '--', '*.py')
    except (OSError, subprocess.SubprocessError) as error:
        log.debug('the commit is unknown: %s', error)
        return None
    return commit + '+' * bool(changed)


def _git(folder: Path, *arguments: str) -> str:
    # A service has another user than the folder, which git asks about; what it runs is in that folder anyway. And no
    # variable of the caller may name another repository, as in a hook.
    command = ['git', '-C', str(folder), '--no-optional-locks', '-c', f'safe.directory={folder}', *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith('GIT_')}
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env=environment,
    )
    return done.stdout.strip()


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        log.warning('the package %s, which the step names, is not installed under this name', package)
        return None
