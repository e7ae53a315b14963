"""Logins against servers of the test's own: session cookies, IAM tokens, TLS."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edw import config
from edw.config import Settings
from edw.database import login
from edw.database.client import Database
from edw.errors import DatabaseError, LoginRefused, SettingsError, Unavailable
from edw.redact import redact


class FakeService(ThreadingHTTPServer):
    """Answers as CouchDB and IAM do, as far as logins go; `valid` is the cookie or token of the hour."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.valid: str | None = None
        self.logins = 0
        self.takes_logins = True
        self.is_embedded = False
        self.reason = 'expired'  # why it refuses
        self.renews_to: str | None = None
        self.lifetime = 3600
        self.seen: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_address[1]}'


class Handler(BaseHTTPRequestHandler):
    server: FakeService

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers['Content-Length'])).decode()
        service = self.server
        if not service.takes_logins:
            return self.answer(401 if self.path == '/_session' else 400, {'error': 'unauthorized'})
        service.logins += 1
        service.valid = f'login-number-{service.logins}'
        if self.path == '/_session':
            assert json.loads(body)['name'] == 'edw'
            return self.answer(200, {'ok': True}, ('Set-Cookie', f'AuthSession={service.valid}; Path=/; HttpOnly'))
        assert 'grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=my-api-key' in body
        return self.answer(200, {'access_token': service.valid, 'expires_in': service.lifetime})

    def do_GET(self) -> None:
        service = self.server
        shown = self.headers.get('Cookie') or self.headers.get('Authorization') or ''
        service.seen.append(shown)
        if service.is_embedded:
            return self.answer(200, {'update_seq': 1}, ('Edw-Folder', '/some/folder'))
        if service.valid is None or not shown.endswith(service.valid):
            return self.answer(401, {'error': 'unauthorized', 'reason': service.reason})
        renewal = [('Set-Cookie', f'AuthSession={service.renews_to}; Path=/')] if service.renews_to else []
        service.valid, service.renews_to = service.renews_to or service.valid, None
        return self.answer(200, {'update_seq': 1}, *renewal)

    def answer(self, status: int, content: dict[str, Any], *headers: tuple[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (*headers, ('Content-Length', str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[FakeService]:
    running = FakeService()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def cookie(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Of a server that stands for one on another machine."""
    monkeypatch.setattr(login, 'is_loopback', lambda url: False)
    return on_this_machine(service)


def on_this_machine(service: FakeService) -> Database:
    return Database(dataclasses.replace(config.load(), server=service.url, username='edw', password='pw'))


@pytest.fixture
def iam(service: FakeService) -> Database:
    settings = dataclasses.replace(config.load(), server=service.url, username='', password='')
    return Database(dataclasses.replace(settings, iam_apikey='my-api-key', iam_url=f'{service.url}/identity/token'))


@pytest.mark.parametrize('kind', ['cookie', 'iam'])
def test_one_login_for_many_requests(request: pytest.FixtureRequest, service: FakeService, kind: str) -> None:
    database = request.getfixturevalue(kind)
    for _ in range(5):
        database.info()
    assert service.logins == 1
    assert set(service.seen) == {'AuthSession=login-number-1' if kind == 'cookie' else 'Bearer login-number-1'}


@pytest.mark.parametrize('kind', ['cookie', 'iam'])
def test_an_expired_login_is_renewed_once(request: pytest.FixtureRequest, service: FakeService, kind: str) -> None:
    database = request.getfixturevalue(kind)
    database.info()
    service.valid = 'of another day'
    assert database.info()['update_seq'] == 1
    assert service.logins == 2


@pytest.mark.parametrize('kind', ['cookie', 'iam'])
def test_a_login_that_is_refused_at_once_again_is_the_end(
    request: pytest.FixtureRequest, service: FakeService, kind: str
) -> None:
    database = request.getfixturevalue(kind)
    database.info()
    service.valid, service.takes_logins = None, False
    with pytest.raises(LoginRefused, match='EDW_'):
        database.info()
    assert service.logins == 1 and len(service.seen) == 2


@pytest.mark.parametrize('kind', ['cookie', 'iam'])
def test_a_wrong_secret_costs_one_request(request: pytest.FixtureRequest, service: FakeService, kind: str) -> None:
    service.takes_logins = False
    with pytest.raises(LoginRefused, match='refused'):
        request.getfixturevalue(kind).info()
    assert service.seen == []


def test_a_cookie_that_the_server_renews_is_taken(cookie: Database, service: FakeService) -> None:
    cookie.info()
    service.renews_to = 'fresh'
    cookie.info()
    cookie.info()
    assert service.seen[-1] == 'AuthSession=fresh' and service.logins == 1


def test_the_embedded_server_is_never_asked_for_a_session(service: FakeService) -> None:
    service.is_embedded = True
    database = on_this_machine(service)
    database.info()
    database.info()
    assert service.seen == ['Basic ZWR3OnB3'] * 2 and service.logins == 0


def test_another_server_on_this_machine_is_asked_after_its_first_answer(service: FakeService) -> None:
    service.valid = 'ZWR3OnB3'  # the basic login, as long as there is no other
    database = on_this_machine(service)
    for _ in range(3):
        database.info()
    assert service.seen == ['Basic ZWR3OnB3', *['AuthSession=login-number-1'] * 2]


def test_a_server_on_this_machine_may_take_cookies_alone(service: FakeService) -> None:
    database = on_this_machine(service)
    database.info()
    assert service.seen == ['Basic ZWR3OnB3', 'AuthSession=login-number-1'] and service.logins == 1


def test_a_wrong_password_is_shown_to_a_server_on_this_machine_once(service: FakeService) -> None:
    service.reason = 'Name or password is incorrect.'
    with pytest.raises(LoginRefused, match='Name or password is incorrect'):
        on_this_machine(service).info()
    assert service.seen == ['Basic ZWR3OnB3'] and service.logins == 0


def test_a_token_is_renewed_before_it_ends(
    iam: Database, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, 'SHORTEST_TOKEN', 0.0)
    service.lifetime = 1
    monkeypatch.setattr(login, 'RENEW_AT', 0.0)
    iam.info()
    iam.info()
    assert service.logins == 2 and service.seen == ['Bearer login-number-1', 'Bearer login-number-2']
    assert redact('a line with login-number-2') == 'a line with ***'


def test_a_token_service_that_is_away_is_waited_for(iam: Database, service: FakeService) -> None:
    service.lifetime = 'soon'
    with pytest.raises(Unavailable, match='no token in the answer'):
        iam.info()


def authority(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'a site of its own')])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / 'site.pem'
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return file


def test_tls_is_verified_and_a_site_may_have_its_own_authority(service: FakeService, tmp_path: Path) -> None:
    bundle = authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle)
    service.socket = context.wrap_socket(service.socket, server_side=True)
    settings = dataclasses.replace(config.load(), server=service.url.replace('http:', 'https:'), username='edw')
    with pytest.raises(DatabaseError, match='certificate is not trusted') as error:
        Database(settings).info()
    assert 'ca_bundle' in str(error.value) and not isinstance(error.value, Unavailable)
    assert Database(dataclasses.replace(settings, ca_bundle=str(bundle))).info()['update_seq'] == 1


def configured(folder: Path, **options: str) -> Settings:
    text = config.DEFAULT_FILE.read_text().replace('server = http://127.0.0.1:5984\n', '')
    text = text.replace('\npassword =\n', '\npassword = cold-germanium\n')
    lines = ''.join(f'{name} = {value}\n' for name, value in options.items())
    (folder / 'edw.ini').write_text(text.replace('[Cloudant]\n', f'[Cloudant]\n{lines}'))
    return config.load(folder / 'edw.ini')


def test_a_ca_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match='ca_bundle'):
        configured(tmp_path, server='https://h', ca_bundle='none.pem')


@pytest.mark.parametrize(
    ('server', 'warns'),
    [
        ('http://couch.example.org:5984', True),
        ('http://192.0.2.1:5984', True),
        ('https://couch.example.org', False),
        ('http://localhost:5984', False),
        ('http://127.0.0.2:5984', False),
        ('http://[::1]:5984', False),
    ],
)
def test_a_password_in_the_clear_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, server: str, warns: bool
) -> None:
    configured(tmp_path, server=server)
    assert ('in the clear' in caplog.text) is warns
