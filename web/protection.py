"""What every answer says to the browser of what it may do with it."""

from __future__ import annotations

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
