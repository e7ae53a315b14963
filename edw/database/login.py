"""Logins: basic, CouchDB's session cookie, Cloudant's IAM API key. Each is an auth object of requests."""

from __future__ import annotations

import threading
import time
from typing import Any
from urllib.parse import unquote

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from edw.config import ENVIRONMENT, Settings, hide_secrets, is_loopback, origin_of_password
from edw.database.retry import retry_after
from edw.errors import LoginRefused, Unavailable
from edw.redact import keep_secret

FOLDER_HEADER = 'Edw-Folder'  # of local_couchdb/server.js, percent-encoded
INCORRECT = 'Name or password is incorrect.'  # CouchDB's reason; it refuses for others, too
TIMEOUT = 30.0  # seconds for the answer to a login
SHORTEST_TOKEN = 10.0  # seconds for which a token is used, whatever its answer says
IAM_GRANT = 'urn:ibm:params:oauth:grant-type:apikey'
RENEW_AT = 0.8  # part of a token's life after which it is renewed, before the server refuses it


def login_for(settings: Settings) -> SessionLogin | IamLogin | None:
    """The login that the settings ask for; None leaves it to requests, which looks into ~/.netrc."""
    hide_secrets(settings)
    if settings.iam_apikey:
        return IamLogin(settings)
    if settings.username:
        return SessionLogin(settings)
    return None


class SessionLogin(AuthBase):
    """One login for many requests, by CouchDB's session cookie; basic where the server offers none.

    Source: CouchDB's documentation, "Cookie Authentication". The server renews the cookie in its answers; a 401
    in between is an expired one, after which there is one more login, and one only.

    A server on this machine may be the embedded one, which has no sessions: the answer to the basic login tells.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # As bytes, because requests would encode text as Latin-1.
        self._basic = HTTPBasicAuth(settings.username.encode(), settings.password.encode())
        self._cookie: str | None = None
        self._offered = True
        self._may_be_embedded = is_loopback(settings.server)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the login on a request."""
        if self._offered and self._cookie is None and not self._may_be_embedded:
            self._log_in()
        if self._cookie is None:
            self._basic(request)
            request.register_hook('response', self._look_who_answers)  # type: ignore[no-untyped-call]
            return request
        request.headers['Cookie'] = f'AuthSession={self._cookie}'
        request.register_hook('response', self._take_renewal)  # type: ignore[no-untyped-call]
        return request

    def renew(self) -> bool:
        """Log in again after a 401. False where that is of no use, because it was the basic login that was refused.

        But for that of the first request: CouchDB may be told to take cookies alone.
        """
        expired, self._cookie = self._cookie, None
        return expired is not None or self._offered

    def _log_in(self) -> None:
        # With the basic login as well, for a proxy in front that asks for it.
        answer = _post(
            self._settings,
            f'{self._settings.server}/_session',
            auth=self._basic,
            json={'name': self._settings.username, 'password': self._settings.password},
        )
        if answer.status_code == 401:
            raise LoginRefused(refusal(self._settings, f'401 {INCORRECT}', folder_in(answer)))
        if answer.status_code == 429 or answer.status_code >= 500:
            says = f'{answer.status_code} {answer.reason}'
            raise Unavailable(f'{self._settings.server}/_session: {says}', retry_after(answer))
        self._cookie = answer.cookies.get('AuthSession')
        self._offered = self._cookie is not None

    def _look_who_answers(self, response: requests.Response, **_: Any) -> None:
        if not self._may_be_embedded:
            return
        self._may_be_embedded = False
        # CouchDB counts wrong passwords, and locks an address out after five: asked once more it would count two.
        is_wrong = response.status_code == 401 and INCORRECT in response.text
        self._offered = not is_wrong and FOLDER_HEADER not in response.headers

    def _take_renewal(self, response: requests.Response, **_: Any) -> None:
        self._cookie = response.cookies.get('AuthSession') or self._cookie


class IamLogin(AuthBase):
    """IBM Cloud IAM: the API key buys a token, which is renewed before it ends.

    Source: IBM Cloud API documentation, "IAM Identity Services", POST /identity/token.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._token = ''
        self._renew_at = 0.0  # monotonic time
        self._lock = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token on a request."""
        with self._lock:
            if time.monotonic() >= self._renew_at:
                self._buy()
        request.headers['Authorization'] = f'Bearer {self._token}'
        return request

    def renew(self) -> bool:
        """Buy a new token after a 401. False where this one was new."""
        used, self._token, self._renew_at = self._token, '', 0.0
        return bool(used)

    def _buy(self) -> None:
        answer = _post(
            self._settings,
            self._settings.iam_url,
            auth=lambda request: request,  # none, not even that of ~/.netrc
            data={'grant_type': IAM_GRANT, 'apikey': self._settings.iam_apikey},
            headers={'Accept': 'application/json'},
        )
        try:
            token = answer.json()
        except ValueError:
            token = None  # not of IAM, but of something on the way
        if answer.status_code in (400, 401, 403) and token is not None:
            raise LoginRefused(
                f'{self._settings.iam_url} refused the API key: {answer.status_code} {answer.reason}\n'
                'Set iam_apikey in local.edw.ini, or EDW_IAM_APIKEY.'
            )
        try:
            self._token, seconds = token['access_token'], float(token['expires_in'])
        except (ValueError, KeyError, TypeError):
            says = f'{answer.status_code}, and no token in the answer'
            raise Unavailable(f'{self._settings.iam_url}: {says}', retry_after(answer)) from None
        keep_secret(self._token)
        self._renew_at = time.monotonic() + max(RENEW_AT * seconds, SHORTEST_TOKEN)


def folder_in(answer: requests.Response) -> str | None:
    """The folder of the data of an embedded server, which is in each of its answers; None for another server."""
    quoted = answer.headers.get(FOLDER_HEADER)
    folder = None if quoted is None else unquote(quoted)
    return folder if folder is None or folder.isprintable() else quoted


def refusal(settings: Settings, says: str, folder: str | None = None) -> str:
    """What to tell a user whose login was refused, by an embedded server where there is a `folder`."""
    if settings.iam_apikey:
        return f'{settings.server} refused the IAM API key: {says}\nSet iam_apikey in local.edw.ini, or EDW_IAM_APIKEY.'
    user = f'user {settings.username!r}' if settings.username else 'what ~/.netrc has for it, if anything'
    refused = f'{settings.server} refused {user}: {says}'
    origin = origin_of_password(settings) if settings.username and settings.password else None
    password = f'The password is that of {origin}. ' if origin else ''
    if folder is None:
        local = f'local.{settings.file.name}'
        return f'{refused}\n{password}Set username and password in {local}, or EDW_USERNAME and EDW_PASSWORD.'
    if origin in ENVIRONMENT:
        way_out = f'unset {origin}, which comes first.'
    else:
        way_out = 'stop it and start it with: python local_couchdb.py --use.'
    return (
        f'{refused} It is the embedded server with its data in {folder}.\n'
        f'{password}If you mean that one, {way_out} If not, start yours.'
    )


def verification(settings: Settings) -> str | bool:
    """What requests is to verify TLS certificates with: the site's own CA bundle, or those that it knows."""
    return settings.ca_bundle or True


def _post(settings: Settings, url: str, **content: Any) -> requests.Response:
    """A request past the session, whose own login would ask for this one."""
    return requests.post(
        url,
        timeout=TIMEOUT,
        allow_redirects=False,
        verify=verification(settings),
        **content,
    )
