"""Programs of the machine that some tests need: found, or the test is skipped and says which package is missing.

CI installs the packages of .ci/packages and sets EDW_TEST_NO_SKIPS: then a missing program is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / '.ci' / 'packages'
OF_LONG_TESTS = PACKAGES.with_name('packages-long')
SYSTEM = ('/usr/sbin', '/sbin')  # where sshd is; not on everybody's path


def program(*names: str, package: str) -> str:
    """Path of the first of these programs that is here; `package` is the Debian package that has one of them."""
    path = os.pathsep.join([os.environ.get('PATH', os.defpath), *SYSTEM])
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    return found or missing(f'{" or ".join(names)} is not here', package)


def docker_compose() -> list[str]:
    """The command of docker compose, of either generation. Neither needs a daemon to check a file."""
    for command in (['docker', 'compose'], ['docker-compose']):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, 'version'], capture_output=True, check=False, timeout=60)
            if asked.returncode == 0:
                return command
    missing('docker compose is not here', 'docker-compose')


def missing(what: str, package: str) -> NoReturn:
    """Skip the test, or fail where CI should have installed the package."""
    assert package in packages(), f'{package} is neither in {PACKAGES}, from which CI installs, nor in {OF_LONG_TESTS}'
    reason = f'{what}; it is in the Debian package {package}'
    if os.environ.get('EDW_TEST_NO_SKIPS'):
        pytest.fail(f'{reason}, and EDW_TEST_NO_SKIPS is set')
    pytest.skip(reason)


def packages() -> set[str]:
    """The Debian packages that CI installs, and those of the long tests."""
    lines = [line for file in (PACKAGES, OF_LONG_TESTS) for line in file.read_text(encoding='utf-8').splitlines()]
    return {line.partition('#')[0].strip() for line in lines} - {''}
