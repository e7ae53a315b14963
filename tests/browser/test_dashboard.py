"""The dashboard in a real browser."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, Open, Site
from tests.scripts import Scripts
from web.render import address

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(2)>"\'/?#&%2F..\u202e{{1234*5}}'


def add_document(site: Site, doc_id: str, **fields: object) -> None:
    doc = {'_id': doc_id, 'run': 'mk24z000', 'status': 'good', 'datecreated': time.time(), 'process': []}
    site.database.put({**doc, **fields})


def wait_for_picture(page: Page) -> None:
    picture = page.locator('figure img')
    picture.wait_for(timeout=30_000)
    picture.evaluate('image => image.decode()')
    assert picture.evaluate('image => image.naturalWidth') > 0


def test_a_change_is_on_the_page_without_a_reload(site: Site, page: Page) -> None:
    page.evaluate('window.loadedOnce = true')
    before = int(page.locator('.tallies dd').first.inner_text())
    add_document(site, 'mk24z000_000')
    expect(page.locator('.tallies dd').first).to_have_text(str(before + 1))
    expect(page.locator('.runs tbody th').first).to_have_text('mk24z000')
    assert page.evaluate('window.loadedOnce')


def test_the_focus_stays_where_it_is_when_the_page_changes(site: Site, page: Page) -> None:
    link = page.locator('.runs tbody a').last
    link.focus()
    href = link.get_attribute('href')
    before = len(site.database.existing(['mk24z000_000']))  # of the test above, where it ran in this process
    add_document(site, 'mk24z000_001')
    expect(page.locator('.runs tbody th').first).to_have_text('mk24z000')
    expect(page.locator('.runs tbody tr').first.locator('.n').first).to_have_text(str(before + 1))
    assert page.evaluate('document.activeElement.getAttribute("href")') == href


def test_from_the_overview_down_to_a_document(site: Site, page: Page) -> None:
    page.get_by_role('link', name='all runs').click()
    page.get_by_role('link', name='ma22a000', exact=True).click()
    expect(page.get_by_role('heading', level=1)).to_have_text('ma22a000')
    row = page.get_by_role('region', name='Table of the files').get_by_role('row').filter(has_text='ma22a000_003')
    expect(row).to_contain_text('signal processing failure')
    row.get_by_role('link').click()
    expect(page.get_by_role('heading', level=1)).to_have_text('ma22a000_003')
    # No data file of ours is no better at another attempt.
    expect(page.locator('.timeline .failed')).to_have_count(1)
    expect(page.locator('.timeline .failed')).to_contain_text('attempt 1: Unprocessable')
    expect(page.locator('.timeline .done')).to_contain_text('move_to_sps')
    expect(page.locator('.json')).to_contain_text('"status": "signal processing failure"')


def test_a_kind_of_failure_leads_to_its_documents(site: Site, page: Page) -> None:
    card = page.locator('.failure').filter(has_text='signal_processing')
    expect(card).to_contain_text('ma22a000_003')
    card.get_by_role('heading').get_by_role('link').click()
    expect(page.get_by_role('row').filter(has_text='ma22a000_003')).to_contain_text('cut short, 20000 of')


@pytest.mark.parametrize('query', [{'run': 'ma22a000'}, {'id': 'ma22a000_000'}])
def test_the_spectrum_of_what_the_listeners_analysed_is_drawn(
    site: Site, open_page: Open, query: dict[str, str]
) -> None:
    path = address('/run', name=query['run']) if 'run' in query else address('/document', id=query['id'])
    page = open_page(site.url + path.lstrip('/'))
    wait_for_picture(page)
    caption = page.locator('figcaption').inner_text()
    assert re.fullmatch(r'(1 file, 2|2 files together, 4)00 events', caption)
    expect(page.locator('.lines')).to_contain_text('FWHM')


def test_text_of_documents_stays_text(site: Site, open_page: Open) -> None:
    made_by = {'edw': HOSTILE, 'commit': HOSTILE, 'packages': {HOSTILE: HOSTILE}}
    entry = {'name': HOSTILE, 'hostname': HOSTILE, 'file': HOSTILE, 'log': HOSTILE, 'finished': HOSTILE}
    failure = {'process': HOSTILE, 'error': f'{HOSTILE}: {HOSTILE}', 'hostname': HOSTILE, 'time': HOSTILE}
    entry['software'] = failure['software'] = made_by
    failure['traceback'] = HOSTILE
    claim = {'process': HOSTILE, 'worker': HOSTILE, 'since': HOSTILE}
    fields = {'run': HOSTILE, 'process': [entry], 'failures': [failure], 'conditions': {HOSTILE: HOSTILE}}
    doc = {'_id': HOSTILE, 'status': HOSTILE, 'datecreated': HOSTILE, 'superseded': HOSTILE, **fields}
    site.database.put(doc)
    site.database.put({**doc, '_id': f'{HOSTILE}2', 'status': 'good', 'claim': claim})
    page = open_page(site.url)
    expect(page.locator('.steps')).to_contain_text(HOSTILE)
    expect(page.locator('.listeners')).to_contain_text(HOSTILE)
    seen = [page.content()]
    page.locator('.failure').filter(has_text='alert').get_by_role('heading').get_by_role('link').click()
    seen.append(page.content())
    page.get_by_role('row').get_by_role('link', name=HOSTILE, exact=True).click()
    expect(page.get_by_role('heading', level=1)).to_have_text(HOSTILE)
    assert parse_qs(urlsplit(page.url).query) == {'id': [HOSTILE]}
    seen.append(page.content())
    page.locator('.crumbs a').last.click()
    files = page.get_by_role('region', name='Table of the files')
    expect(files.get_by_role('row').filter(has_text='alert')).to_have_count(2)
    seen.append(page.content())
    for content in seen:
        assert 'alert(1)' in content
        assert content.count('<script') == 1  # our own
        assert '<img src="x"' not in content
        assert '6170' not in content
    for doc_id in (HOSTILE, f'{HOSTILE}2'):
        site.database.delete(site.database.get(doc_id))


def test_a_failed_document_is_requeued_and_a_finished_one_done_again(site: Site, open_page: Open) -> None:
    page = open_page(site.url + address('document', id='ma22a000_002'))
    expect(page.get_by_role('button')).to_have_count(0)
    page.get_by_role('main').get_by_role('link', name='Log in').click()
    page.get_by_label('Password').fill(PASSWORD)
    page.keyboard.press('Enter')
    expect(page.get_by_role('heading', level=1)).to_have_text('ma22a000_002')
    page.get_by_role('button', name='Requeue').click()
    expect(page.locator('.message')).to_have_text('1 document requeued')
    assert site.database.get('ma22a000_002')['status'] == 'good'
    page.reload()
    expect(page.locator('.message')).to_have_count(0)

    page.goto(site.url + address('document', id='ma22a000_001'))
    page.get_by_label('Do again from').select_option('signal_processing')
    page.get_by_role('button', name='Do again').click()
    expect(page.locator('.message')).to_have_text('1 document requeued')
    expect(page.locator('.timeline .superseded')).to_contain_text('signal_processing')
    doc = site.database.get('ma22a000_001')
    assert [entry['name'] for entry in doc['process']] == ['move_to_sps']
    assert [entry['name'] for entry in doc['superseded'][0]['entries']] == ['signal_processing']

    page.get_by_role('button', name='Log out').click()
    expect(page.get_by_role('link', name='Log in')).to_be_visible()


def test_a_kind_of_failure_is_requeued_at_once(site: Site, open_page: Open) -> None:
    failure = {'process': 'signal_processing', 'error': 'DiskError: full', 'hostname': 'x', 'time': 1.0, 'attempt': 3}
    ids = ['mk24y000_000', 'mk24y000_001', 'mk24y000_002']
    for doc_id in ids:
        add_document(site, doc_id, run='mk24y000', status='signal processing failure', failures=[failure])
    page = open_page(site.url + address('failures', step='signal_processing', kind='DiskError'))
    page.get_by_role('main').get_by_role('link', name='Log in').click()
    page.get_by_label('Password').fill(PASSWORD)
    page.get_by_role('button', name='Log in').click()
    held = site.database.get(ids[2])
    site.database.put({**held, 'claim': {'process': 'signal_processing', 'worker': 'w', 'since': time.time()}})
    page.get_by_role('button', name='Requeue these 3').click()
    expect(page.locator('.message')).to_have_text(
        '2 documents requeued; 1 left alone, a listener is at it (mk24y000_002)'
    )
    states = [site.database.get(doc_id)['status'] for doc_id in ids]
    assert states == ['good', 'good', 'signal processing failure']


def test_everything_can_be_reached_with_the_keyboard(site: Site, page: Page) -> None:
    page.keyboard.press('Tab')
    expect(page.locator('.skip')).to_be_focused()
    expect(page.locator('.skip')).to_be_in_viewport()
    page.keyboard.press('Enter')
    expect(page.locator('main')).to_be_focused()
    for _ in range(40):
        page.keyboard.press('Tab')
        outline, href = page.evaluate(
            '[getComputedStyle(document.activeElement).outlineStyle, document.activeElement.getAttribute("href")]'
        )
        assert outline not in ('', 'none')
        if (href or '').startswith('/run?'):
            break
    page.keyboard.press('Enter')
    page.wait_for_url('**/run?name=*')


def test_a_dashboard_that_is_away_is_said_and_found_again(site: Site, open_page: Open) -> None:
    with Scripts(site.settings.file) as scripts:
        dashboard = scripts.start('dashboard.py', '--port', '0')
        dashboard.wait_for('dashboard at ')
        url = dashboard.output.split()[-1]
        page = open_page(url, expected='net::ERR_')
        page.locator('.state.on').wait_for()
        assert dashboard.stop() == 0
        expect(page.locator('.state')).to_contain_text('Not live since')
        scripts.start('dashboard.py', '--port', str(urlsplit(url).port)).wait_for('dashboard at ')
        expect(page.locator('.state')).to_contain_text('Live')
