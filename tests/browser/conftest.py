"""A dashboard with data that the listeners processed, and a browser to look at it: Debian's or another Chromium."""

from __future__ import annotations

import dataclasses
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from edw import config
from edw.config import Settings
from edw.database import design
from edw.database.client import Database
from edw.files import md5_of
from edw.model.documents import Document
from tests.browser import history
from tests.conftest import Server
from tests.programs import program
from tests.scripts import Process, Scripts
from upload_design import DESIGN_FILE

ARGUMENTS = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
PASSWORD = 'open-sesame'
DESKTOP = {'width': 1280, 'height': 900}
SCREENSHOTS = os.environ.get('EDW_SCREENSHOTS')  # folder that they are written to

Open = Callable[..., Page]

expect.set_options(timeout=30_000)  # ms; for a machine that does much else


@dataclasses.dataclass
class Site:
    """A running dashboard, and the database behind it."""

    url: str
    database: Database
    settings: Settings
    process: Process
    analysed: Document  # that both listeners are done with
    unreadable: Document  # that failed for good in signal_processing


@pytest.fixture(scope='session')
def site(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A night's documents, and one run whose files are real: acquired, moved, analysed, and two that failed."""
    folder = tmp_path_factory.mktemp('site')
    file = folder / 'edw.ini'
    dbname = 'edwtest-night' if SCREENSHOTS else f'edwtest-{secrets.token_hex(6)}'
    text = server.settings_text(dbname).replace('lease = 3', 'lease = 30')
    file.write_text(f'{text}[dashboard]\ndashboard_password = {PASSWORD}\n')
    settings = config.load(file)
    database = Database(settings)
    database.create()
    design.upload(database, design.read(DESIGN_FILE))
    with Scripts(file) as scripts:
        _process(scripts, database, files=16 if SCREENSHOTS else 4)
        now = time.time()
        database.bulk_docs(history.night(now, 'abcdefgh' if SCREENSHOTS else 'a', 1))
        for heartbeat in history.heartbeats(now):
            database.put(heartbeat)
        dashboard = scripts.start('dashboard.py', '--port', '0')
        dashboard.wait_for('dashboard at ')
        url = dashboard.output.split('dashboard at ')[1].split()[0]
        yield Site(url, database, settings, dashboard, database.get('ma22a000_000'), database.get('ma22a000_003'))
    server.request('DELETE', dbname)


def _process(scripts: Scripts, database: Database, files: int) -> None:
    made = scripts.call('make_metadata.py', str(files))
    assert made.returncode == 0, made.stderr
    broken, gone = database.get('ma22a000_003'), database.get('ma22a000_002')
    Path(gone['original_file']).unlink()
    # Moved as it is, for its md5 is right; but no file that anybody could analyse.
    source = Path(broken['original_file'])
    source.write_bytes(source.read_bytes()[:20_000])
    database.put({**broken, 'md5sum': md5_of(source), 'size': 20_000})
    for listener in ('listen_newfiles.py', 'listen_analysis1.py'):
        # Without processes, which would take longer to start than the few files.
        assert (
            scripts.call(listener, '--once', '-q', '--engine', 'threads').returncode == 1
        )  # each fails on one document


@pytest.fixture(scope='session')
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    # First the shell, which is the same without what only a window needs: two thirds of the processor time.
    names = 'chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'
    chromium = program(*names, package='chromium-headless-shell')
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens pages, each in a context of its own; in the end nothing may have gone wrong in any of them."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def opened(url: str, expected: str | None = None, **options: object) -> Page:
        context = browser.new_context(**{'viewport': DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.on('pageerror', lambda error: wrong.append(f'error: {error}'))
        page.on('dialog', lambda dialog: (wrong.append(f'dialog: {dialog.message}'), dialog.dismiss()))
        # What the Content-Security-Policy refuses is said on the console too.
        page.on('console', lambda said: wrong.append(said.text) if is_wrong(said, expected) else None)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def is_wrong(said: ConsoleMessage, expected: str | None) -> bool:
    """Whether what a page says on its console tells of something that a test did not bring about."""
    return said.type in ('error', 'warning') and (expected is None or expected not in said.text)


@pytest.fixture
def page(site: Site, open_page: Open) -> Page:
    """The first page, live."""
    shown = open_page(site.url)
    shown.locator('.state.on').wait_for()
    return shown
