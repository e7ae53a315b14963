"""Tests that need a program say which package is missing, and in CI none is skipped for it."""

from __future__ import annotations

import pytest

from tests import programs
from tests.programs import program


def test_a_program_that_is_here() -> None:
    assert program('no-such-program', 'sh', package='util-linux').endswith('/sh')


def test_without_its_program_a_test_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('EDW_TEST_NO_SKIPS', raising=False)
    with pytest.raises(pytest.skip.Exception, match=r'no-such-program is not here.*package util-linux'):
        program('no-such-program', package='util-linux')


def test_where_none_may_be_skipped_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('EDW_TEST_NO_SKIPS', '1')
    with pytest.raises(pytest.fail.Exception, match='no-such-program is not here'):
        program('no-such-program', package='util-linux')


def test_ci_installs_the_package_of_every_program() -> None:
    assert {'chromium-headless-shell', 'openssh-server', 'prometheus', 'systemd'} <= programs.packages()
    with pytest.raises(AssertionError, match='no-such-package is neither in'):
        program('no-such-program', package='no-such-package')
