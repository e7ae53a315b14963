from __future__ import annotations

import base64
import contextlib
import dataclasses
import html
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import requests
from hypothesis import assume, given
from hypothesis import strategies as st

from edw import cli, config, logs, redact
from edw.engines.callbacks import run_callback
from edw.errors import StepError
from edw.redact import is_common, keep_secret

USER = 'edw'
COMMON = ('data', 'raw', 'root', 'pw', 'a', '1234', 'a1b2', 'hush', 'signal_processing', 'move_to_sps', 'data2013')
REAL = ('cold-germanium', 'oh-so-secret', 'h%sh', 'h%sh hush', 's3cr3t', 'xqzvbnmk', '8237465023', 'p@ss/wörd "1"')


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test keeps secret is none of this one's business."""
    monkeypatch.setattr(redact, '_known', {})


def basic(password: str, user: str = USER) -> str:
    return base64.b64encode(f'{user}:{password}'.encode()).decode()


# How a secret may come into a text, wherever in it.
FORMS: dict[str, Callable[[str], str]] = {
    'as it is': str,
    'quoted for a path': lambda secret: quote(secret, safe=''),
    'quoted for a query': quote_plus,
    'quoted, its slashes left': quote,
    'quoted in small letters': lambda secret: quote(secret, safe='').lower() if secret == secret.lower() else secret,
    'JSON': lambda secret: json.dumps(secret)[1:-1],
    'JSON with letters of all languages': lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    'JSON of others': lambda secret: json.dumps(secret)[1:-1].replace('/', '\\/'),
    'Python': lambda secret: repr(secret)[1:-1],
    'HTML': html.escape,
    'Basic': basic,
}
# Where a secret can stand: hidden there, common or not.
PLACES = (
    'https://edw:{}@host/x',
    '"password": "{}"',
    "{{'password': '{}'}}",
    'password={} and more',
    'password = {}',
    'iam_apikey={}&grant_type=x',
    '?token={}',
    'EDW_PASSWORD={}',
    "Settings(password='{}')",
    '{{\\"password\\": \\"{}\\"}}',
    'refused the password "{}"',
    "password: '{}' is wrong",
    'password: {}',
    'the password is {}, they say',
    'curl --password {} http://host',
    'curl -u edw:{} http://host',
    "auth=('edw', '{}')",
    "auth=(b'edw', b'{}')",
    "Port could not be cast to integer value as '{}'",
    'Failed to parse: http://edw:{}',
)
# The same for what needs not be known at all.
HEADERS = (
    'Authorization: Basic {}',
    'authorization: Bearer {}',
    'Proxy-Authorization: {}',
    "{{'Authorization': 'Basic {}'}}",
    '{{"Authorization": "Bearer {}"}}',
    "[(b'Authorization', b'Basic {}')]",
    'Cookie: AuthSession={}; Version=1',
    "{{'Cookie': 'AuthSession={}'}}",
    'Set-Cookie: AuthSession={}; Path=/; HttpOnly',
    'AuthSession={}',
    'no luck with Basic {}',
    'no luck with Bearer {}',
)
INNOCENT = (
    '/mnt/data/raw/ma22a000_000.root',
    'data/raw and data/sps beside it',
    'sftp://host/data/raw/x.root cannot be read: No such file',
    'data',
    "KeyError: 'data'",
    'x.root is no data file, its root has no tree, raw or not',
    '{"original_file": "/data/raw/x.root", "process": [{"name": "data", "file": "/data"}]}',
    'host:data/raw',
    'the password file is /data/raw/root',
    'password /data/raw',
    'password: data/raw/x.root',
    'Set username and password in local.edw.ini, or EDW_USERNAME and EDW_PASSWORD.',
    'the embedded server needs a username and a password: set both in edw.ini.',
    'http://127.0.0.1:5984: the password goes over the network in the clear; use https',
    'Cookie: the login is sent once and the cookie after that',
    'a basic understanding of 1234 data2013 signal_processing move_to_sps',
    'no token in the answer',
    'run ma22a000 a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6',
)


@pytest.mark.parametrize('secret', COMMON)
def test_common_secrets(secret: str) -> None:
    assert is_common(secret) and is_common(secret.upper())


@pytest.mark.parametrize('secret', REAL)
def test_real_secrets(secret: str) -> None:
    assert not is_common(secret)


def test_random_secrets_are_real() -> None:
    for make in (secrets.token_hex, secrets.token_urlsafe):
        assert not any(is_common(make(6)) for _ in range(1000))


@pytest.mark.parametrize('secret', REAL)
def test_a_real_secret_goes_wherever_it_stands(secret: str) -> None:
    keep_secret(secret, USER)
    for name, form in FORMS.items():
        written = form(secret)
        for text in ('{}', 'it is {} or {}', 'x{}x', '/mnt/{}/x.root', "'{}'", *HEADERS):
            said = redact.redact(text.replace('{}', written))
            assert written not in said and secret not in said and '***' in said, f'{name}: {text}'


@pytest.mark.parametrize('secret', (*COMMON, *(secret for secret in REAL if not set(secret) & set(' "@/'))))
def test_any_secret_goes_where_a_secret_can_stand(secret: str) -> None:
    keep_secret(secret, USER)
    for place in PLACES:
        said = redact.redact(place.format(secret))
        # The words around it may hold a short one.
        assert said in (place.format('***'), 'https://host/x'), said


@pytest.mark.parametrize('secret', COMMON)
def test_a_common_secret_takes_no_text_with_it(secret: str) -> None:
    keep_secret(secret, USER)
    for text in INNOCENT:
        assert redact.redact(text) == text


@pytest.mark.parametrize('text', INNOCENT)
def test_innocent_texts_stay_where_nothing_is_secret(text: str) -> None:
    assert redact.redact(text) == text


@pytest.mark.parametrize('header', HEADERS)
@pytest.mark.parametrize('value', [basic('data'), basic('x' * 40), 'eyJhbGciOiJIUzI1NiJ9.e30.Zm9v_-8'])
def test_headers_go_whatever_is_in_them(header: str, value: str) -> None:
    said = redact.redact(header.format(value))
    assert value not in said and value.rstrip('=') not in said and '***' in said


@pytest.mark.parametrize('place', PLACES[1:10])
@pytest.mark.parametrize('value', ['data', 'never-heard-of', 'ö1$'])
def test_values_of_secret_keys_go_whatever_they_are(place: str, value: str) -> None:
    assert redact.redact(place.format(value)) == place.format('***')


@pytest.mark.parametrize(
    'text',
    ['"password": "with \\"quotes\\" in it", "x": 1', "'password': 'it\\'s', 'x': 1", '"password": 12345, "x": 1'],
)
def test_a_quoted_value_goes_to_its_end(text: str) -> None:
    said = redact.redact(text)
    assert '***' in said and 'x' in said and not any(part in said for part in ('with', 'quotes', 'it', '12345'))


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('see https://me:pw@host/x and sftp://you@other/', 'see https://host/x and sftp://other/'),
        ('https://me:p@ss@host/x', 'https://host/x'),
        ('https://me:@host', 'https://host'),
        ('mail me@host or https://host/x@y', 'mail me@host or https://host/x@y'),
        ('https://host?mail=me@host', 'https://host?mail=me@host'),
    ],
)
def test_user_information_of_urls_goes(text: str, says: str) -> None:
    assert redact.redact(text) == says


def test_an_empty_password_is_no_secret() -> None:
    keep_secret('')
    assert redact.redact('abc') == 'abc'


def test_a_secret_within_another_leaves_nothing_of_it() -> None:
    for secret in ('cold-ger', 'cold-germanium', 'germanium-x'):
        keep_secret(secret)
    assert redact.redact('cold-germanium, cold-ger, germanium-x') == '***, ***, ***'


def test_what_the_settings_say_openly_is_common() -> None:
    openly = ['/mnt/bolometers-2013/raw', 'sftp://me:xqzvbnmk@tapes.example.org/deep-underground']
    keep_secret('deep-underground', openly=openly)
    keep_secret('bolometers-2013', openly=openly)
    keep_secret('xqzvbnmk', openly=openly)
    path = '/mnt/bolometers-2013/raw and tapes.example.org/deep-underground'
    assert redact.redact(path) == path
    assert redact.redact('password "deep-underground", token=bolometers-2013') == 'password "***", token=***'
    assert redact.redact('xqzvbnmk') == '***'  # the login in a URL is not open
    keep_secret('deep-underground')  # by somebody who knows less of it
    assert redact.redact(path) == path


def test_secrets_of_the_settings(tmp_path: Path) -> None:
    settings = dataclasses.replace(
        config.load(), username='edw', password='edwexample', iam_apikey='k3y-of-mine', dashboard_password='up & away'
    )
    config.hide_secrets(settings)
    assert redact.redact('edwexample: k3y-of-mine, up &amp; away, up%20%26%20away') == 'edwexample: ***, ***, ***'
    assert redact.redact('edw:edwexample ' + basic('edwexample')) == 'edw:*** ***'


def test_a_common_password_leaves_log_errors_and_documents_readable(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_secret('data', USER)
    path = '/mnt/data/raw/x.root'

    def callback(doc: dict[str, object]) -> dict[str, object]:
        raise StepError(f'{path}: no data, and the password "data" of http://edw:data@host/data')

    says = f'{path}: no data, and the password "***" of http://host/data'
    assert run_callback(callback, {'_id': 'x'}).error == f'StepError: {says}'

    def work() -> int:
        raise StepError(f'{path}: no data')

    assert cli.ending(work) == 1
    assert capsys.readouterr().err == f'error: {path}: no data\n'
    record = logging.LogRecord('x', 40, __file__, 1, '%s moved', (path,), None)
    assert logs.RedactingFormatter('%(message)s').format(record) == f'{path} moved'


@pytest.mark.parametrize('secret', ['data', 'cold-germanium'])
def test_what_requests_says_of_a_login(secret: str) -> None:
    keep_secret(secret, USER)
    for url in (f'http://{USER}:{secret}@127.0.0.1:1/x', f'http://{USER}:{secret}', f'http://{USER}:{secret}@[x/'):
        with pytest.raises((requests.RequestException, ValueError)) as raised:
            requests.get(url, timeout=1)
        said = redact.redact(f'{type(raised.value).__name__}: {raised.value} {raised.value!r}')
        assert secret not in said
    request = requests.Request('GET', 'http://host/', auth=(USER, secret)).prepare()
    said = redact.redact(
        f'{request.headers} {dict(request.headers)} {requests.auth.HTTPBasicAuth(USER, secret).__dict__}'
    )
    assert secret not in said and basic(secret).rstrip('=') not in said


def test_log_lines_are_redacted_with_their_traceback() -> None:
    keep_secret('very-hush')
    try:
        raise ValueError('https://me:pw@host says very-hush')
    except ValueError as error:
        record = logging.LogRecord(
            'x', 40, __file__, 1, 'at %s', ('very-hush',), (ValueError, error, error.__traceback__)
        )
    line = logs.RedactingFormatter('%(message)s').format(record)
    assert 'very-hush' not in line.replace("ValueError('https://me:pw@host says very-hush')", '')
    assert 'Traceback' in line
    assert 'me:pw' not in line


@contextlib.contextmanager
def kept(*secret: str) -> Iterator[None]:
    """Keeps secrets for the time of a block, because hypothesis calls a test many times."""
    before = redact._known
    for each in secret:
        keep_secret(each, USER)
    try:
        yield
    finally:
        redact._known = before


def texts(**sizes: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_characters='*', exclude_categories=['Cs']), **sizes)


@given(texts(min_size=8, max_size=40), texts(max_size=40), texts(max_size=40), st.sampled_from(sorted(FORMS)))
def test_a_long_secret_never_survives(secret: str, before: str, after: str, form: str) -> None:
    assume(not is_common(secret) and '://' not in secret)
    with kept(secret):
        said = redact.redact(before + FORMS[form](secret) + after)
    assert secret not in said
    if form != 'quoted in small letters':
        # What is left around it is not the secret in another form.
        assert FORMS[form](secret) not in said


@given(texts(max_size=60))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    with kept('data', 'cold-germanium'):
        said = redact.redact(text)
        assert redact.redact(said) == said
