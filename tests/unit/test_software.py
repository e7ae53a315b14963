"""What entries and failures say of the software that made them."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import listen_analysis1
import listener
from edw import __version__, software
from edw.engines.callbacks import Outcome, failed_outcome
from edw.errors import SettingsError
from edw.listening import steps
from edw.listening.steps import Step
from edw.software import commit_of, here

MOST = 400  # bytes of an entry's `software`


def git(folder: Path, *arguments: str) -> str:
    author = ('-c', 'user.name=t', '-c', 'user.email=t@example.org')
    done = subprocess.run(['git', '-C', folder, *author, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / 'suite'
    folder.mkdir()
    for name in ('step.py', 'edw.ini'):
        (folder / name).write_text('one\n')
    git(folder, 'init', '--quiet')
    git(folder, 'add', '.')
    git(folder, 'commit', '--quiet', '--message', 'first')
    return folder


def test_the_commit_has_a_plus_where_its_files_were_changed(repository: Path) -> None:
    commit = git(repository, 'rev-parse', '--short', 'HEAD')
    assert commit_of(repository) == commit
    (repository / 'edw.ini').write_text('settings are no software\n')
    (repository / 'my_step.py').write_text('nor is what somebody keeps beside it\n')
    assert commit_of(repository) == commit
    (repository / 'step.py').write_text('two\n')
    assert commit_of(repository) == f'{commit}+'


def test_the_commit_is_found_whoever_asks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = commit_of(repository)
    # As for the user of a service, and as in a hook of another repository.
    monkeypatch.setenv('GIT_TEST_ASSUME_DIFFERENT_OWNER', '1')
    monkeypatch.setenv('GIT_DIR', '/nowhere/.git')
    assert commit_of(repository) == commit


@pytest.mark.parametrize(
    ('written', 'commit'),
    [('5b0f5b6\n', '5b0f5b6'), ('5b0f5b6+', '5b0f5b6+'), ('$Format:%h$', None), ('', None), ('é', None), (None, None)],
)
def test_without_git_it_is_what_was_written_at_the_installation(
    repository: Path, written: str | None, commit: str | None
) -> None:
    installed = repository / 'installed'  # within a repository that has nothing to do with it
    (installed / 'edw').mkdir(parents=True)
    if written is not None:
        (installed / 'edw' / 'COMMIT').write_text(written, encoding='utf-8')
    assert commit_of(installed) == commit


def test_an_archive_of_git_knows_its_commit(tmp_path: Path) -> None:
    if not (software.PROJECT / '.git').exists():
        pytest.skip('this is no clone of git')
    git(software.PROJECT, 'archive', '--output', str(tmp_path / 'it.tar'), 'HEAD', 'edw/COMMIT')
    subprocess.run(['tar', '-xf', tmp_path / 'it.tar', '-C', tmp_path], check=True)
    head = git(software.PROJECT, 'rev-parse', 'HEAD')
    found = commit_of(tmp_path)
    assert found is not None and head.startswith(found)


def test_where_git_cannot_tell_nothing_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / '.git' / 'HEAD').write_text('damaged')
    assert commit_of(repository) is None
    monkeypatch.setenv('PATH', '/nowhere')
    assert commit_of(repository) is None


def test_packages_that_are_not_there_are_left_out_and_too_many_too(caplog: pytest.LogCaptureFixture) -> None:
    found = here(('numpy', 'no-such-package-of-ours'))
    assert list(found['packages']) == ['numpy']
    assert 'no-such-package-of-ours' in caplog.text
    all_of_them = tuple({one.metadata['Name'] for one in metadata.distributions()})
    assert 'packages' not in here(all_of_them) and 'name fewer' in caplog.text


@pytest.mark.parametrize('packages', [(), ('numpy', 'uproot'), ('numpy', 'uproot', 'scipy', 'awkward', 'matplotlib')])
def test_it_is_short(packages: tuple[str, ...]) -> None:
    step = Step('s', 0, 'f', version='9' * steps.LONGEST_VERSION, packages=packages)
    assert len(json.dumps(step.made_by(failed_outcome('')))) < MOST


def test_the_entry_and_the_failure_say_what_made_them() -> None:
    step = Step('s', 0, 'f', version='2', packages=('numpy',))
    doc: dict[str, Any] = {'_id': 'x', 'status': 'good', 'process': []}
    there = {'edw': '9', 'python': '3.99'}
    done = Outcome(1.0, 2.0, 1.0, {'parameters': {'threshold': 3}, 'software': 'mine'}, software=there)
    (entry,) = steps.success(doc, done, step).change(doc)['process']
    assert entry['software'] == {**there, 'step': '2'}
    assert entry['parameters'] == {'threshold': 3}
    update, _, _ = steps.failure(doc, failed_outcome('ValueError: 3'), 5.0, step, 3)
    (failure,) = update.change(doc)['failures']
    assert failure['software'] == {**here(('numpy',)), 'step': '2'}
    assert failure['software']['edw'] == __version__
    assert 'traceback' not in failure


def test_the_analysis_says_what_it_is_made_with() -> None:
    said: dict[str, Any] = {}
    listener.main, real = lambda callback, **options: said.update(options) or 0, listener.main  # type: ignore[assignment]
    try:
        listen_analysis1.main([])
    finally:
        listener.main = real
    assert said['version'] and {'numpy', 'uproot'} <= set(said['packages'])


@pytest.mark.parametrize(
    'options',
    [{'version': 2}, {'version': ''}, {'version': 'é'}, {'version': '1\n'}, {'packages': 'numpy'}, {'packages': (1,)}],
)
def test_a_version_that_is_none(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match='step s'):
        Step('s', 0, 'f', **options)


def test_of_a_node_that_is_gone_nothing_is_said_but_the_step() -> None:
    assert Step('s', 0, 'f').made_by(failed_outcome('KilledWorker', hostname='far')) == {'step': '1'}
