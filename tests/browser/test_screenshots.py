"""The pictures of the documentation: written anew with EDW_SCREENSHOTS=docs/images."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import SCREENSHOTS, Open, Site
from web.render import address

pytestmark = pytest.mark.skipif(not SCREENSHOTS, reason='EDW_SCREENSHOTS names no folder')


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_pages_of_the_documentation(site: Site, open_page: Open, scheme: str) -> None:
    suffix = '' if scheme == 'light' else '-dark'
    folder = Path(SCREENSHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    page = open_page(site.url, color_scheme=scheme)
    page.locator('.state.on').wait_for()
    _save(page, folder / f'dashboard{suffix}.png')
    page.goto(site.url + address('run', name='ma22a000'))
    page.locator('figure img').wait_for()
    page.locator('figure img').evaluate('image => image.decode()')
    _save(page, folder / f'run{suffix}.png')
    page.goto(site.url + address('document', id=site.unreadable['_id']))
    _save(page, folder / f'document{suffix}.png')


def _save(page: Page, file: Path) -> None:
    """With a palette: a third of the size, and nobody sees it."""
    Image.open(io.BytesIO(page.screenshot(full_page=True))).quantize(256).save(file, optimize=True)
