"""The pictures of the documentation: written anew with EDW_SCREENSHOTS=docs/images."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    page.screenshot(path=folder / f'dashboard{suffix}.png', full_page=True)
    page.goto(site.url + address('run', name='ma22a000'))
    page.locator('figure img').wait_for()
    page.wait_for_function("document.querySelector('figure img').complete")
    page.screenshot(path=folder / f'run{suffix}.png', full_page=True)
    page.goto(site.url + address('document', id=site.unreadable['_id']))
    page.screenshot(path=folder / f'document{suffix}.png', full_page=True)
