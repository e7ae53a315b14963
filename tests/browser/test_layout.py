"""All pages at the widths of a phone, a tablet and a desktop: nothing sticks out, and no name is cut off."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, Open, Site
from tests.browser.test_dashboard import wait_for_picture
from web.render import address

WIDTHS = (400, 800, 1280)  # pixels
SCHEMES = {'light': 'rgb(246, 246, 243)', 'dark': 'rgb(15, 19, 23)'}  # and the page's colour
LONG = 'r' * 30 + '_' + 'x' * 165 + '_000'  # 200 characters, of which no line can be broken but within a word
FOREIGN = 'фон–ベータ崩壊_測定_\u202eabc\u202c_ünï'

# What is wrong with a page as it stands, a line each.
# - Texts that stand outside of what is seen, whatever hides it: the page's edge, or a box around them; and names with a
#   line for each few letters.
# - What is pressed and stands alone, of less than 24 pixels (WCAG 2.2, 2.5.8; links within a sentence are left out).
LOOK = """() => {
    const wrong = [];
    if (document.documentElement.scrollWidth > window.innerWidth) wrong.push('the page is scrolled sideways');
    const limits = new Map([[document.documentElement, [0, document.documentElement.clientWidth]]]);
    const limitsOf = (one) => {
        if (!limits.has(one)) {
            let [left, right] = limitsOf(one.parentElement);
            if (getComputedStyle(one).overflowX !== 'visible') {
                const box = one.getBoundingClientRect();
                [left, right] = [Math.max(left, box.left), Math.min(right, box.right)];
            }
            limits.set(one, [left, right]);
        }
        return limits.get(one);
    };
    for (const one of document.querySelectorAll('.text, h1, h2, dd, dt, th, button, select, input, .plot text')) {
        const box = one.getBoundingClientRect();
        if (box.width === 0 || one.closest('.hidden')) continue;
        const [left, right] = limitsOf(one.parentElement);
        if (box.left < left - 1 || box.right > right + 1) {
            wrong.push(`cut off: ${one.tagName} ${one.textContent.trim().slice(0, 50)}`);
        }
        if (box.width < 60 && box.height > 80) {
            wrong.push(`squeezed: ${one.tagName} ${one.textContent.trim().slice(0, 50)}`);
        }
    }
    for (const one of document.querySelectorAll('button, select, input, nav a, .account a, summary')) {
        const height = one.getBoundingClientRect().height;
        if (height > 0 && height < 24) wrong.push(`small: ${one.outerHTML.slice(0, 80)}`);
    }
    return wrong;
}"""
# Each pair of colours: [a text, its colour, the colour of the first box behind it that has one].
COLOURS = """() => {
    const seen = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim();
        const element = walker.currentNode.parentElement;
        if (!text || element.closest('.hidden, .skip, title, script') || !element.getClientRects().length) continue;
        const style = getComputedStyle(element);
        const ink = element.closest('svg') ? style.fill : style.color;
        for (let one = element; one; one = one.parentElement) {
            const paper = getComputedStyle(one).backgroundColor;
            if (paper !== 'rgba(0, 0, 0, 0)') {
                seen.set(ink + paper, [text.slice(0, 50), ink, paper]);
                break;
            }
        }
    }
    return [...seen.values()];
}"""


@pytest.fixture(scope='module')
def odd(site: Site) -> Iterator[None]:
    """Documents with names of 200 characters, in other scripts, of the original, that failed alike, in conflict."""
    now = time.time()
    volts = {f'detector_{letter}': [8, -8, 2.5, -2.5, 1e-3, 120] for letter in 'ab'}
    failure = {'process': 'signal_processing', 'hostname': 'sps-node-03', 'time': now - 60, 'attempt': 3}
    failure |= {'software': {'edw': '2.1.0', 'commit': '5b0f5b6+', 'python': '3.11.2'}, 'traceback': f'File "{LONG}"'}
    docs: list[dict[str, Any]] = []
    for number in range(12):
        doc_id = f'mk24x000_{number:03d}'
        error = f'StepError: /mnt/{LONG}/{doc_id}.root is missing'
        docs.append({'_id': doc_id, 'run': 'mk24x000', 'failures': [{**failure, 'error': error}]})
        docs[-1] |= {'status': 'signal processing failure', 'process': [{'name': 'move_to_sps', 'file': f'/{LONG}'}]}
    for doc_id in (LONG, FOREIGN):
        entry = {'name': doc_id, 'hostname': doc_id, 'file': f'/{doc_id}/{doc_id}', 'finished': now, 'log': doc_id}
        docs.append({'_id': doc_id, 'run': doc_id[:-4], 'status': 'good', 'process': [entry]})
        docs[-1]['conditions'] = {'volts': volts, 'temperature': 0.0152, doc_id: doc_id}
        docs[-1]['claim'] = {'process': f'after {doc_id}', 'worker': f'{doc_id}:1:2', 'since': now - 5}
        docs[-1] |= {'comments': [{'time': now, 'by': 'anna', 'text': doc_id}], 'tags': [doc_id]}
        docs.append({'_id': f'{doc_id}2', 'run': doc_id[:-4], 'status': doc_id, 'process': []})
    docs.append({'_id': 'original', 'run': 'original', 'status': 'good', 'process': [{'name': 'move_to_sps'}]})
    docs = [{'datecreated': now, **doc} if doc['_id'] != 'original' else doc for doc in docs]
    assert all(row.get('ok') for row in site.database.bulk_docs(docs))
    versions = [{'_id': 'mk24x001_000', '_rev': f'1-{host}', 'status': f'{LONG}{host}'} for host in 'ab']
    site.database._request('POST', '_bulk_docs', body={'docs': versions, 'new_edits': False})
    yield
    ids = [doc['_id'] for doc in docs]
    site.database.bulk_docs([{**doc, '_deleted': True} for doc in site.database.existing(ids).values()])
    for version in versions:
        site.database.delete(version)


def test_nothing_sticks_out_is_cut_off_or_hard_to_read(site: Site, odd: None, open_page: Open) -> None:
    page = open_page(site.url + address('login', then='/'))
    page.get_by_label('Password').fill(PASSWORD)
    page.keyboard.press('Enter')
    expect(page.locator('.listeners').first).to_contain_text(LONG)
    wrong = []
    for path in (
        '/',
        '/runs',
        *(address('/run', name=name) for name in ('ma22a000', 'mk24x000', LONG[:-4], FOREIGN[:-4], 'original')),
        *(address('/document', id=doc_id) for doc_id in (LONG, FOREIGN, 'original', 'mk24x001_000', 'mk24x000_003')),
        *(address('/document', id=doc_id) for doc_id in ('ma22a000_000', 'ma22a000_003')),
        address('/failures', step='signal_processing', kind='StepError'),
        address('/spectrum', run='ma22a000'),
        '/login',
        '/nowhere' + LONG,
    ):
        if 'nowhere' not in path:
            page.goto(site.url + path.lstrip('/'))
        if '=ma22a000' in path and '_003' not in path:
            wait_for_picture(page)
        wrong += dict.fromkeys(f'{path[:70]} {said}' for said in _looked_at(page, path))
    assert not wrong, '\n'.join(wrong)


def _looked_at(page: Page, path: str) -> Iterator[str]:
    for scheme, colour in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate('getComputedStyle(document.body).backgroundColor') == colour
        for text, ink, paper in page.evaluate(COLOURS):
            if contrast(ink, paper) < 4.5:
                yield f'{scheme}: {text!r} {ink} on {paper}'  # WCAG 2.2, 1.4.3
        for width in WIDTHS:
            page.set_viewport_size({'width': width, 'height': 900})
            if os.environ.get('EDW_LOOK'):
                name = f'{path[1:40].replace("/", "_").replace("?", "_")}-{width}-{scheme}.png'
                page.screenshot(path=f'{os.environ["EDW_LOOK"]}/{name}', full_page=True)
            yield from (f'{width} pixels: {said}' for said in page.evaluate(LOOK))


def contrast(ink: str, paper: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r'\d+', colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(ink), luminance(paper)))
    return (high + 0.05) / (low + 0.05)
