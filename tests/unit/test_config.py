from __future__ import annotations

from pathlib import Path

import pytest

from edw import config
from edw.errors import SettingsError

GOOD = config.DEFAULT_FILE.read_text(encoding='utf-8')


def write(folder: Path, text: str, name: str = 'edw.ini') -> Path:
    file = folder / name
    file.write_text(text, encoding='utf-8')
    return file


def test_shipped_file_is_complete_and_points_at_the_embedded_server() -> None:
    settings = config.load()
    assert settings.server == 'http://127.0.0.1:5984'
    assert settings.design == '_design/process'
    assert settings.username and settings.password


def test_data_paths_are_relative_to_the_file_and_urls_stay(tmp_path: Path) -> None:
    text = GOOD.replace('sps = data/sps', 'sps = sftp://host/edelweiss/data')
    settings = config.load(write(tmp_path, text))
    assert settings.raw == str(tmp_path / 'data' / 'raw')
    assert settings.sps == 'sftp://host/edelweiss/data'


def test_local_file_and_environment_override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, GOOD)
    write(tmp_path, '[Cloudant]\nusername = local\npassword = from%local\n', 'local.edw.ini')
    settings = config.load(file)
    assert (settings.username, settings.password) == ('local', 'from%local')
    for variable, value in (('SERVER', 'https://h/'), ('DBNAME', 'd'), ('USERNAME', 'u'), ('PASSWORD', 'p')):
        monkeypatch.setenv(f'EDW_{variable}', value)
    settings = config.load(file)
    assert (settings.server, settings.dbname, settings.username, settings.password) == ('https://h', 'd', 'u', 'p')


@pytest.mark.parametrize(
    ('old', 'new', 'names'),
    [
        ('workers = 1', 'workers = many', ('[listener]', 'workers', 'whole number')),
        ('workers = 1', 'workers = 0', ('[listener]', 'workers')),
        ('workers = 1', 'workers = -1', ('[listener]', 'workers')),
        ('workers = 1', 'wrokers = 1', ('[listener]', 'wrokers', 'workers')),
        ('workers = 1\n', '', ('[listener]', 'workers')),
        ('lease = 30', 'lease = 15', ('[listener]', 'lease', 'heartbeat')),
        ('heartbeat = 10', 'heartbeat = 0', ('[listener]', 'heartbeat', 'more than 0')),
        ('retry_pause = 2', 'retry_pause = soon', ('[listener]', 'retry_pause', 'seconds')),
        ('[data]', '[date]', ('[data]', 'raw')),
        ('raw = data/raw', 'raw =', ('[data]', 'raw', 'empty')),
        ('server = http://127.0.0.1:5984', 'server = 127.0.0.1', ('[Cloudant]', 'server', 'URL')),
        ('server = http://127.0.0.1:5984', 'server = http://127.0.0.1:port', ('[Cloudant]', 'server')),
        ('server = http://127.0.0.1:5984', 'server = http://me:hush@host', ('[Cloudant]', 'server', 'login')),
        ('dbname = edwexample', 'dbname = Edw Example', ('[Cloudant]', 'dbname', 'small letter')),
        ('viewname = _design/process/_view/lastproc', 'viewname = lastproc', ('[Cloudant]', 'viewname')),
        ('password = cold-germanium', 'cold-germanium', ('line',)),
        ('[Cloudant]', '', ('line',)),
    ],
)
def test_bad_settings_name_file_section_and_key(tmp_path: Path, old: str, new: str, names: tuple[str, ...]) -> None:
    file = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SettingsError) as error:
        config.load(file)
    for name in (str(file), *names):
        assert name in str(error.value)
    assert 'cold-germanium' not in str(error.value)
    assert 'hush' not in str(error.value)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match='no such settings file'):
        config.load(tmp_path / 'none.ini')
    with pytest.raises(SettingsError, match='no settings'):
        config.load(write(tmp_path, ''))


def test_bad_value_in_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('EDW_SERVER', 'nowhere')
    with pytest.raises(SettingsError, match='EDW_SERVER'):
        config.load(write(tmp_path, GOOD))


def test_password_is_not_in_the_repr() -> None:
    assert 'cold-germanium' not in repr(config.load())


def test_the_dashboard_has_no_password_unless_one_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, GOOD.partition('[dashboard]')[0])
    assert config.load(file).dashboard_password == ''
    monkeypatch.setenv('EDW_DASHBOARD_PASSWORD', 'hush')
    settings = config.load(file)
    assert settings.dashboard_password == 'hush'
    assert 'hush' not in repr(settings)
