"""The dashboard as an ASGI application: its routes, and what surrounds every request."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from edw.errors import EdwError, NoDatabase, NoDesign, NotFound
from edw.redact import keep_secret, redact
from web import actions, pages, render
from web.access import LIFETIME, Access, SecurityHeaders
from web.blocking import Databases
from web.live import Live
from web.spectra import Spectra

LOOPBACK = ('localhost', '127.0.0.1', '::1', '[::1]')


def application(databases: Databases, live: Live, host: str, public_names: tuple[str, ...] = ()) -> ASGIApp:
    """The dashboard of one database.

    It answers to the names of loopback, to `host`, and to `public_names`, by which a reverse proxy is known, and to
    no others: a page elsewhere could else have its own name lead here, and read along.
    """
    settings = databases.settings
    keep_secret(settings.dashboard_password)
    routes = [
        Route('/', pages.overview),
        Route('/events', pages.events),
        Route('/runs', pages.runs),
        Route('/run', pages.run),
        Route('/document', pages.document),
        Route('/failures', pages.failures),
        Route('/spectrum', pages.spectrum),
        Route('/spectrum.svg', pages.spectrum_svg),
        Mount('/static', StaticFiles(directory=render.FOLDER / 'static')),
    ]
    if settings.dashboard_password:
        routes += [
            Route('/login', actions.login_form),
            Route('/login', actions.log_in, methods=['POST']),
            Route('/logout', actions.log_out, methods=['POST']),
            Route('/reprocess', actions.reprocess, methods=['POST']),
            Route('/annotate', actions.annotate, methods=['POST']),
        ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        live.start()
        yield
        live.end()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, host, *public_names], www_redirect=False),
            Middleware(
                SessionMiddleware,
                secret_key=secrets.token_hex(32),
                session_cookie='edw_dashboard',
                max_age=LIFETIME,
                same_site='strict',
                https_only=bool(public_names),
            ),
        ],
        exception_handlers={EdwError: _refused, HTTPException: _not_served, Exception: _bug},
    )
    app.state.settings = settings
    app.state.live = live
    app.state.databases = databases
    app.state.spectra = Spectra(settings)
    app.state.access = Access(settings.dashboard_password) if settings.dashboard_password else None
    app.state.public_names = public_names
    return SecurityHeaders(app)


async def _refused(request: Request, error: Exception) -> Response:
    missing = isinstance(error, NotFound) and not isinstance(error, (NoDatabase, NoDesign))
    status_code, heading = (404, 'Not there') if missing else (502, 'The database does not give it')
    return _error(request, status_code, heading, redact(str(error)))


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _error(request, error.status_code, error.detail, '')
    response.headers.update(error.headers or {})
    return response


async def _bug(request: Request, error: Exception) -> Response:
    return _error(request, 500, 'This page cannot be made', 'The log of dashboard.py says why.')


def _error(request: Request, status_code: int, heading: str, text: str) -> Response:
    return render.page('error.html', status_code, **pages.frame(request, heading), code=status_code, text=text)
