from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest

from docs import generate
from edw import config
from edw.config import OPTIONS, Settings
from edw.errors import SettingsError

GOOD = config.DEFAULT_FILE.read_text(encoding='utf-8')
ORIGINAL = """[Cloudant]
server = https://account.cloudant.com
dbname = edwexample
username = account
password = 100%hush
viewname = _design/process/_view/lastproc
"""


def write(folder: Path, text: str, name: str = 'edw.ini') -> Path:
    file = folder / name
    file.write_text(text, encoding='utf-8')
    return file


def test_the_shipped_file_is_as_the_settings_are_declared() -> None:
    assert generate.ini() == GOOD, 'write it with: python -m docs.generate'


def test_shipped_file_points_at_the_embedded_server(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, GOOD))
    assert settings.server == 'http://127.0.0.1:5984'
    assert settings.design == '_design/process'
    assert settings.username and not settings.password, 'each folder of data has one of its own'


@pytest.mark.parametrize('option', OPTIONS, ids=lambda option: option.name)
def test_each_option_is_declared_well(option: config.Option) -> None:
    value = option.default if option.shipped is None else option.shipped
    assert value is not None, 'what must be set is in the shipped file'
    assert type(option.check(value)) is get_type_hints(Settings)[option.name]
    assert option.help[0].isupper() and not option.help.endswith('.') and '|' not in option.help
    assert not option.variable or re.fullmatch(r'EDW_[A-Z_]+', option.variable)
    # Nobody may have to put a secret into a file.
    assert option.variable or not option.secret
    secret = [word for word in ('password', 'apikey', 'token', 'secret') if word in option.name]
    assert option.secret or not secret


def test_no_name_stands_for_two_options() -> None:
    names = [option.name for option in OPTIONS]
    assert len(set(names)) == len(names) == len(dataclasses.fields(Settings)) - 1


def test_the_originals_own_file_is_enough(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, ORIGINAL))
    assert (settings.username, settings.password) == ('account', '100%hush')
    assert (settings.raw, settings.sps) == (str(tmp_path / 'data' / 'raw'), str(tmp_path / 'data' / 'sps'))
    shipped = config.load()
    for name in ('workers', 'batch', 'attempts', 'retry_pause', 'heartbeat', 'lease', 'viewname', 'iam_url'):
        assert getattr(settings, name) == getattr(shipped, name)
    assert settings.dashboard_password == settings.ca_bundle == settings.iam_apikey == ''


def test_only_server_and_dbname_are_required(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, '[Cloudant]\nserver = https://h\ndbname = d\n'))
    assert (settings.username, settings.password) == ('', '')
    assert settings.viewname == '_design/process/_view/lastproc'
    for missing in ('server', 'dbname'):
        with pytest.raises(SettingsError, match=f'section \\[Cloudant\\] has no option {missing}. Add it.'):
            config.load(write(tmp_path, re.sub(f'{missing} = .*\n', '', GOOD)))
    assert [option.name for option in OPTIONS if option.default is None] == ['server', 'dbname']


def test_what_is_required_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('EDW_SERVER', 'https://h')
    assert config.load(write(tmp_path, '[Cloudant]\ndbname = d\n')).server == 'https://h'


def test_paths_are_relative_to_the_file_and_urls_stay(tmp_path: Path) -> None:
    write(tmp_path, 'a certificate', 'ca.pem')
    text = GOOD.replace('sps = data/sps', 'sps = sftp://host/edelweiss/data').replace(
        '# ca_bundle =', 'ca_bundle = ca.pem'
    )
    settings = config.load(write(tmp_path, text))
    assert settings.raw == str(tmp_path / 'data' / 'raw')
    assert settings.sps == 'sftp://host/edelweiss/data'
    assert settings.ca_bundle == str(tmp_path / 'ca.pem')


def test_paths_in_the_local_file_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', '/home/me')
    write(tmp_path, '[data]\nraw = fast\nsps = ~/sps\n', 'local.edw.ini')
    settings = config.load(write(tmp_path, GOOD))
    assert (settings.raw, settings.sps) == (str(tmp_path / 'fast'), '/home/me/sps')


def test_local_file_and_environment_override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, GOOD)
    write(tmp_path, '[Cloudant]\nusername = local\npassword = from%local\n', 'local.edw.ini')
    settings = config.load(file)
    assert (settings.username, settings.password) == ('local', 'from%local')
    for variable, value in (('SERVER', 'https://h/'), ('DBNAME', 'd'), ('USERNAME', 'u'), ('PASSWORD', 'p')):
        monkeypatch.setenv(f'EDW_{variable}', value)
    settings = config.load(file)
    assert (settings.server, settings.dbname, settings.username, settings.password) == ('https://h', 'd', 'u', 'p')


def test_where_the_password_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, ORIGINAL)
    assert config.origin_of_password(config.load(file)) == str(file)
    assert config.origin_of_password(dataclasses.replace(config.load(file), password='of-before')) is None
    local = write(tmp_path, '[Cloudant]\npassword = local\n', 'local.edw.ini')
    assert config.origin_of_password(config.load(file)) == str(local)
    monkeypatch.setenv('EDW_PASSWORD', 'here')
    assert config.origin_of_password(config.load(file)) == 'EDW_PASSWORD'


@pytest.mark.parametrize(
    ('old', 'new', 'names'),
    [
        ('workers =\n', 'workers = many\n', ('[listener]', 'workers', 'whole number')),
        ('workers =\n', 'workers = 0\n', ('[listener]', 'workers')),
        ('workers =\n', 'workers = -1\n', ('[listener]', 'workers')),
        ('batch = 500', 'batch =', ('[listener]', 'batch')),
        ('engine =\n', 'engine = steam\n', ('[listener]', 'engine', 'threads or processes')),
        ('workers =\n', 'wrokers = 1\n', ('[listener]', 'wrokers', 'Did you mean workers?')),
        ('workers =\n', 'zeal = 1\n', ('[listener]', 'zeal', 'Known are: engine, workers, batch')),
        ('workers =\n', 'raw = x\n', ('[listener]', 'raw', 'It belongs into [data]')),
        ('workers =\n', 'workers = 1\nworkers = 2\n', ('line',)),
        ('lease = 30', 'lease = 15', ('[listener]', 'lease', 'heartbeat')),
        ('heartbeat = 10', 'heartbeat = 0', ('[listener]', 'heartbeat', 'more than 0')),
        ('retry_pause = 2', 'retry_pause = soon', ('[listener]', 'retry_pause', 'seconds')),
        ('[data]\n', '', ('[Cloudant]', 'raw', 'It belongs into [data]')),
        ('[data]', '[DATA]', ('[DATA]', '[data]')),
        ('raw = data/raw', 'raw =', ('[data]', 'raw', 'empty')),
        ('raw = data/raw', 'raw = ~no such user/raw', ('[data]', 'raw', '~')),
        ('server = http://127.0.0.1:5984', 'server =', ('[Cloudant]', 'server', 'URL')),
        ('server = http://127.0.0.1:5984', 'server = 127.0.0.1', ('[Cloudant]', 'server', 'URL')),
        ('server = http://127.0.0.1:5984', 'server = http://127.0.0.1:port', ('[Cloudant]', 'server')),
        ('server = http://127.0.0.1:5984', 'server = http://me:hush@host', ('[Cloudant]', 'server', 'login')),
        ('dbname = edwexample', 'dbname = Edw Example', ('[Cloudant]', 'dbname', 'small letter')),
        ('viewname = _design/process/_view/lastproc', 'viewname = lastproc', ('[Cloudant]', 'viewname')),
        ('viewname = _design/process/_view/lastproc', 'viewname =', ('[Cloudant]', 'viewname')),
        ('# ca_bundle =', 'ca_bundle = none.pem', ('[Cloudant]', 'ca_bundle', 'none.pem')),
        ('password =', 'cold-germanium', ('line',)),
        ('password =', 'passwrod = cold-germanium', ('passwrod', 'Did you mean password?')),
        ('[Cloudant]', '', ('line',)),
    ],
)
def test_bad_settings_name_file_section_and_key(tmp_path: Path, old: str, new: str, names: tuple[str, ...]) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SettingsError) as error:
        config.load(file)
    for name in (str(file), *names):
        assert name in str(error.value)
    assert 'cold-germanium' not in str(error.value)
    assert 'hush' not in str(error.value)


@pytest.mark.parametrize('option', [option for option in OPTIONS if option.variable], ids=lambda option: option.name)
@pytest.mark.parametrize(
    'damage', [str.upper, lambda text: f'{text} x', lambda text: f'[{text}', lambda text: f'{text}\n']
)
def test_no_error_quotes_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: config.Option, damage: Callable[[str], str]
) -> None:
    monkeypatch.setenv(option.variable, damage('hush'))
    try:
        config.load(write(tmp_path, GOOD))
    except SettingsError as error:
        assert option.variable in str(error) and 'hush' not in str(error).lower()


def test_a_section_that_nobody_reads_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path, GOOD.replace('[data]', '[date]') + '[other program]\nsecret = hush\nworkers = 9\n')
    for _ in range(3):
        settings = config.load(file)
    assert settings.raw == str(tmp_path / 'data' / 'raw') and settings.workers == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert f'{file}: nobody reads the section [date]. Did you mean [data]?' in caplog.text
    assert f'{file}: nobody reads the section [other program].' in caplog.text and 'hush' not in caplog.text


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match='no such settings file'):
        config.load(tmp_path / 'none.ini')
    for text in ('', '[Cloudant]\n', '# nothing\n'):
        with pytest.raises(SettingsError, match='no settings'):
            config.load(write(tmp_path, text))
    with pytest.raises(SettingsError, match='has no option server'):
        config.load(write(tmp_path, '[elsewhere]\nserver = x\n'))


def test_bad_value_in_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('EDW_SERVER', 'nowhere')
    with pytest.raises(SettingsError, match='EDW_SERVER'):
        config.load(write(tmp_path, GOOD))


def test_no_secret_is_in_the_repr() -> None:
    secrets = {option.name: f'hush-{option.name}' for option in OPTIONS if option.secret}
    assert set(secrets) == {'password', 'iam_apikey', 'dashboard_password'}
    assert 'hush' not in repr(dataclasses.replace(config.load(), **secrets))


def test_settings_go_to_another_process_as_json_and_come_back() -> None:
    settings = config.load()
    sent = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    assert Settings(**{**sent, 'file': Path(sent['file'])}) == settings


def test_the_dashboard_has_no_password_unless_one_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, GOOD.partition('[dashboard]')[0])
    assert config.load(file).dashboard_password == ''
    monkeypatch.setenv('EDW_DASHBOARD_PASSWORD', 'hush')
    settings = config.load(file)
    assert settings.dashboard_password == 'hush'
    assert 'hush' not in repr(settings)
