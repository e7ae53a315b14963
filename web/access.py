"""Who may do what: the login, the checks of every request that changes something, and what a browser may do."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import threading
import time
from collections import deque

from starlette.datastructures import FormData, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ATTEMPTS = 5  # wrong passwords from one address within WINDOW, after which it has to wait
WINDOW = 300.0  # seconds
MOST_ADDRESSES = 10_000  # that are kept in mind
WRONG_PAUSE = 1.0  # seconds before a wrong password is answered
LIFETIME = 12 * 3600  # seconds that a login holds: a shift, and a little more
# What every answer says to the browser of what it may do with it.
HEADERS = {
    # Nothing inline, nothing from elsewhere: text out of a document cannot become a script, whatever it holds.
    'Content-Security-Policy': "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
}


class Access:
    """The password, the logins that hold, and the wrong ones of late. All of it ends with the process."""

    def __init__(self, password: str) -> None:
        self._password = password.encode()
        self._logins: dict[str, float] = {}  # when each one ends, by the monotonic clock
        self._wrong: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def must_wait(self, client: str) -> bool:
        """Whether an address has guessed too often."""
        with self._lock:
            return len(self._recent(client)) >= ATTEMPTS

    def log_in(self, client: str, password: str) -> str | None:
        """A new login, or None for a wrong password."""
        # Compared in constant time; of digests of one length, so that its length is no secret that time tells either.
        key = secrets.token_bytes(32)
        right = hmac.compare_digest(
            hmac.digest(key, password.encode('utf-8', 'replace'), 'sha256'), hmac.digest(key, self._password, 'sha256')
        )
        now = time.monotonic()
        with self._lock:
            if not right:
                recent = self._recent(client)
                recent.append(now)
                self._wrong[client] = recent
                while len(self._wrong) > MOST_ADDRESSES:
                    del self._wrong[next(iter(self._wrong))]
                return None
            self._logins = {login: end for login, end in self._logins.items() if end > now}
            login = secrets.token_urlsafe(24)
            self._logins[login] = now + LIFETIME
            return login

    def holds(self, login: object) -> bool:
        """Whether a login holds. A cookie that was copied before a logout does not bring it back."""
        with self._lock:
            return isinstance(login, str) and self._logins.get(login, 0.0) > time.monotonic()

    def log_out(self, login: object) -> None:
        """End a login."""
        with self._lock:
            self._logins.pop(str(login), None)

    def _recent(self, client: str) -> deque[float]:
        recent = self._wrong.get(client, deque(maxlen=ATTEMPTS))
        while recent and recent[0] < time.monotonic() - WINDOW:
            recent.popleft()
        return recent


def csrf_token(request: Request) -> str:
    """The word that each form of this session carries, and that no other site can read."""
    token: str = request.session.setdefault('csrf', secrets.token_urlsafe(24))
    return token


def refusal(request: Request, form: FormData, public_names: tuple[str, ...]) -> str | None:
    """Why a request that changes something is not one of our own forms; None where it is."""
    origin = request.headers.get('origin', '')
    scheme, _, netloc = origin.partition('://')
    host = netloc.rpartition(':')[0] if netloc.rpartition(':')[2].isdecimal() else netloc
    own = netloc == request.headers.get('host') or host in public_names
    if scheme not in ('http', 'https') or not own:
        return 'This request does not come from a page of this dashboard.'
    token = form.get('csrf')
    if not isinstance(token, str) or not hmac.compare_digest(
        token.encode('utf-8', 'replace'), str(request.session.get('csrf', '')).encode()
    ):
        return 'The form is not of this session. Load the page again, and send it then.'
    return None


class SecurityHeaders:
    """Adds HEADERS to every answer, those of errors too; only static files may be kept by the browser."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message['type'] == 'http.response.start':
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault('Cache-Control', 'no-cache' if 'etag' in headers else 'no-store')
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            # The server ends, and this request has used up its grace: its database does not answer.
            if not begun:
                await PlainTextResponse('The dashboard has been ended.', 503)(scope, receive, send_with_headers)
