"""What the dashboard answers, without a browser: headers, hosts, forms that are refused, and addresses of all kinds."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from tests.browser.conftest import PASSWORD, Site
from web.render import address

ODD_IDS = ['a/b', 'what?', 'a#b', 'a&b=c', '100%', 'ünï/ço∂e', 'new\nline', ' space ', '<b>', 'a+b', '\u202eabc']


@pytest.fixture
def visitor(site: Site) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers['Origin'] = site.url.rstrip('/')
        yield session


def get(site: Site, path: str, visitor: object = requests, **options: object) -> requests.Response:
    return visitor.get(site.url + path.lstrip('/'), timeout=30, allow_redirects=False, **options)


def post(site: Site, path: str, visitor: object, form: dict[str, str], **options: object) -> requests.Response:
    return visitor.post(site.url + path.lstrip('/'), data=form, timeout=30, allow_redirects=False, **options)


def token(site: Site, visitor: requests.Session, path: str = '/login') -> str:
    return re.search(r'name="csrf" value="([^"]+)"', get(site, path, visitor).text)[1]


def log_in(site: Site, visitor: requests.Session) -> None:
    form = {'csrf': token(site, visitor), 'password': PASSWORD, 'then': '/'}
    assert post(site, '/login', visitor, form).status_code == 303


@pytest.mark.parametrize(
    'path', ['/', '/runs', '/login', '/nowhere', '/document?id=none', '/static/style.css', '/events']
)
def test_every_answer_forbids_what_is_not_ours(site: Site, path: str) -> None:
    answer = get(site, path, stream=True)
    policy = answer.headers['Content-Security-Policy']
    assert policy.startswith("default-src 'self';")
    assert 'unsafe' not in policy
    assert answer.headers['X-Content-Type-Options'] == 'nosniff'
    assert answer.headers['X-Frame-Options'] == 'DENY'
    assert answer.headers['Referrer-Policy'] == 'same-origin'
    assert 'Server' not in answer.headers
    answer.close()


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(site: Site) -> None:
    for path in (
        '/',
        '/runs',
        '/login',
        address('/document', id='ma22a000_000'),
        '/static/dashboard.js',
        '/static/style.css',
    ):
        text = get(site, path).text
        assert 'http://www.w3.org' not in text
        assert not re.search(r'(src|href|url)\s*[=(]\s*["\']?(https?:)?//', text)
        assert ' style=' not in text and '<style' not in text and not re.search(r'\son\w+=', text)


@pytest.mark.parametrize(
    ('host', 'code'),
    [('localhost', 200), ('127.0.0.1', 200), ('[::1]', 200), ('evil.example', 400), ('127.0.0.1.evil.example', 400)],
)
def test_only_names_of_this_machine_are_answered(site: Site, host: str, code: int) -> None:
    port = urlsplit(site.url).port
    assert get(site, '/', headers={'Host': f'{host}:{port}'}).status_code == code


@pytest.mark.parametrize(
    'path',
    [
        *(
            '/nowhere',
            '/run',
            '/document',
            '/spectrum',
            '/run?name=none',
            '/runs?page=99',
            '/runs?page=0',
            '/runs?page=x',
        ),
        *(f'/document?id={doc_id}' for doc_id in ('', 'none', '_design%2Fprocess', '_all_docs', '.', '..')),
        *('/static/../app.py', '/static/%2e%2e/app.py'),
    ],
)
def test_what_is_not_there_is_said_on_a_page(site: Site, path: str) -> None:
    answer = get(site, path)
    assert answer.status_code == 404
    assert '<h1>' in answer.text and 'Traceback' not in answer.text


@pytest.mark.parametrize('doc_id', ODD_IDS)
def test_a_document_of_any_name_is_reached_by_the_links_to_it(site: Site, doc_id: str) -> None:
    rev = site.database.put({'_id': doc_id, 'run': f'run {doc_id}', 'status': 'good', 'process': []})['rev']
    try:
        listed = get(site, address('/run', name=f'run {doc_id}'))
        link = re.search(r'href="(/document\?[^"]+)"', listed.text)[1].replace('&amp;', '&')
        answer = get(site, link)
        assert answer.status_code == 200
        assert f'"_rev": &#34;{rev}&#34;'.replace('"', '&#34;') in answer.text
    finally:
        site.database.delete({'_id': doc_id, '_rev': rev})


def test_many_runs_have_pages_and_the_newest_come_first(site: Site) -> None:
    now = time.time()
    # Of two machines: the order of the names is not that of the times.
    made = {f'mk24{"yz"[number % 2]}{number:03d}': now - number for number in range(60)}
    site.database.bulk_docs([{'_id': run, 'run': run, 'datecreated': at, 'status': 'bad'} for run, at in made.items()])
    try:
        first = get(site, '/runs').text
        rest = get(site, re.search(r'href="([^"]+)" rel="next"', first)[1]).text
        found = [re.findall(r'href="/run\?name=(\w+)"', text) for text in (first, rest)]
        assert len(found[0]) == 50
        assert [run for run in found[0] + found[1] if run in made] == list(made)
        assert f'51 to {50 + len(found[1])}' in rest and 'rel="next"' not in rest
        assert get(site, re.search(r'href="([^"]+)" rel="prev"', rest)[1]).text.count('href="/run?') == 50
    finally:
        docs = site.database.existing(made).values()
        site.database.bulk_docs([{**doc, '_deleted': True} for doc in docs])


def test_a_run_tells_when_how_large_under_which_conditions_and_what_is_wrong_with_it(site: Site) -> None:
    answer = get(site, address('/run', name='ma22a000')).text
    assert re.search(r'<dt>files</dt><dd>4, 3\.\d+ MB</dd>', answer)
    assert re.search(r'>temperature</dt><dd class="text">15\.\d( to 1[56]\.\d)? mK<', answer)
    assert re.search(r'detector_b</th><td class="n">4 V</td><td class="n">−4 V</td><td class="n">1.5 V</td>', answer)
    assert re.search(r'Unprocessable: .*ma22a000_003.*cut short', answer)  # the other one may be mended already


@pytest.mark.parametrize('process', [None, 'text', [None, 3, {}], [{'name': 'signal_processing', 'file': 3}], {'a': 1}])
def test_a_document_of_any_form_is_shown(site: Site, process: object) -> None:
    doc = {'_id': 'odd', 'status': {'not': 'text'}, 'process': process, 'failures': 7, 'claim': [], 'superseded': 'x',
           'conditions': [1], 'run': 4, 'datecreated': 1e300, 'size': 'big'}  # fmt: skip
    rev = site.database.put(doc)['rev']
    try:
        assert get(site, '/document?id=odd').status_code == 200
        assert get(site, '/spectrum?id=odd').status_code == 200
    finally:
        site.database.delete({'_id': 'odd', '_rev': rev})


def test_a_traceback_is_folded_and_software_is_told(site: Site) -> None:
    failure = {
        'process': 's',
        'error': 'E: e',
        'traceback': '  File "<b>"\nE: e',
        'software': {'edw': '2', 'step': '<i>'},
    }
    rev = site.database.put({'_id': 'fails', 'status': 'bad', 'process': [], 'failures': [failure]})['rev']
    try:
        text = get(site, '/document?id=fails').text
        assert re.search(r'<details><summary>Traceback</summary><pre[^>]*>  File &#34;&lt;b&gt;&#34;\nE: e</pre>', text)
        assert 'edw 2, step &lt;i&gt;' in text
    finally:
        site.database.delete({'_id': 'fails', '_rev': rev})


def test_versions_in_conflict_are_shown_side_by_side(site: Site) -> None:
    versions = [{'_id': 'two', '_rev': f'1-{host}', 'status': f'<b>{host}'} for host in 'ab']
    site.database._request('POST', '_bulk_docs', body={'docs': versions, 'new_edits': False})
    try:
        page = get(site, '/document?id=two').text
        assert 'In conflict' in page and page.index('&lt;b&gt;b') < page.index('&lt;b&gt;a')
        assert '/two?rev=1-a' in page and '<b>' not in page
    finally:
        for doc in versions:
            site.database.delete(doc)


@pytest.mark.parametrize(
    'file', ['/nowhere/a.amp.root', '/dev/zero', 'a\0b', 'sftp://127.0.0.1:1/x.root', 'no://scheme/x']
)
def test_a_file_that_cannot_be_read_is_a_message_in_its_place(site: Site, file: str) -> None:
    entry = {'name': 'signal_processing', 'file': file}
    rev = site.database.put({'_id': 'gone', 'run': 'gone', 'status': 'good', 'process': [entry]})['rev']
    try:
        answer = get(site, '/spectrum?id=gone')
        assert answer.status_code == 200
        assert '1 file of amplitudes cannot be read' in answer.text
        assert '<img' not in answer.text
        assert get(site, '/spectrum.svg?id=gone').status_code == 404
    finally:
        site.database.delete({'_id': 'gone', '_rev': rev})


def test_the_picture_holds_no_script_and_says_what_it_is(site: Site) -> None:
    answer = get(site, '/spectrum.svg?id=ma22a000_000')
    assert answer.headers['Content-Type'] == 'image/svg+xml'
    assert answer.content.startswith(b'<?xml') and b'<script' not in answer.content


def test_events_begin_with_the_state_as_it_is(site: Site) -> None:
    with get(site, '/events', stream=True) as answer:
        assert answer.headers['Content-Type'].startswith('text/event-stream')
        lines = answer.iter_lines(decode_unicode=True)
        assert [next(lines), next(lines), next(lines)] == ['retry: 2000', '', 'event: status']
        text = ''
        for line in lines:
            if not line:
                break
            assert line.startswith('data: ')
            text += line
    assert 'data-live="steps"' in text
    assert 'csrf' not in text


def test_the_headers_of_events_alone_leave_the_connection_to_others(site: Site, visitor: requests.Session) -> None:
    answer = visitor.head(f'{site.url}events', timeout=30)
    assert answer.status_code == 200 and answer.headers['Content-Type'].startswith('text/event-stream')
    assert answer.headers['X-Accel-Buffering'] == 'no' and answer.headers['Cache-Control'] == 'no-store'
    assert get(site, '/runs', visitor).status_code == 200


@pytest.mark.parametrize('path', ['/reprocess', '/annotate'])
def test_nothing_is_changed_without_login_token_and_origin(site: Site, visitor: requests.Session, path: str) -> None:
    before = site.database.get('ma22a000_003')
    form = {'id': 'ma22a000_003', 'action': 'failed', 'then': '/'}
    form |= {'name': 'ma22a000_003', 'what': 'tag', 'text': 'golden', 'by': 'anna'}
    other = {'Origin': 'https://evil.example'}
    assert post(site, path, visitor, {**form, 'csrf': ''}).status_code == 403
    assert post(site, path, visitor, {**form, 'csrf': token(site, visitor)}).status_code == 403
    log_in(site, visitor)
    good = {**form, 'csrf': token(site, visitor)}
    with requests.Session() as stranger:
        foreign = token(site, stranger)
    assert post(site, path, visitor, form).status_code == 403
    assert post(site, path, visitor, {**form, 'csrf': foreign}).status_code == 403
    assert post(site, path, visitor, good, headers=other).status_code == 403
    assert post(site, path, visitor, good, headers={'Origin': 'null'}).status_code == 403
    assert post(site, path, visitor, good, headers={'Origin': None}).status_code == 403
    assert post(site, path, visitor, {**good, 'then': 'x' * 30_000}).status_code == 413
    assert post(site, '/logout', visitor, {}).status_code == 403
    assert get(site, path, visitor).status_code == 405
    assert site.database.get('ma22a000_003') == before


def test_notes_are_written_and_shown(site: Site, visitor: requests.Session) -> None:
    doc_id = 'ma22a000_003'
    before = site.database.get(doc_id)
    log_in(site, visitor)
    form = {'csrf': token(site, visitor), 'name': doc_id, 'then': f'/document?id={doc_id}', 'by': '<b>anna</b>'}
    for what, text in (('comment', '<i>mains</i>'), ('tag', 'golden'), ('bad', ''), ('hold', 'warm')):
        assert post(site, '/annotate', visitor, {**form, 'what': what, 'text': text}).status_code == 303
    shown = get(site, f'/document?id={doc_id}').text
    assert '&lt;i&gt;mains&lt;/i&gt;' in shown and '&lt;b&gt;anna&lt;/b&gt;' in shown and '<i>mains' not in shown
    assert 'golden' in get(site, f'/run?name={before["run"]}').text
    held = site.database.get(doc_id)
    assert held['status'] == 'held' and held['hold']['reason'] == 'warm' and held['quality']['value'] == 'bad'
    assert post(site, '/annotate', visitor, {**form, 'what': 'comment', 'text': ' '}).status_code == 303
    assert 'a comment has 1 to' in get(site, '/', visitor).text
    assert post(site, '/annotate', visitor, {**form, 'what': 'nonsense', 'text': 'x'}).status_code == 400
    for what, text in (('release', ''), ('untag', 'golden')):
        assert post(site, '/annotate', visitor, {**form, 'what': what, 'text': text}).status_code == 303
    after = site.database.get(doc_id)
    assert after['status'] == before['status'] and after['tags'] == [] and len(after['comments']) == 1


def test_a_logout_ends_the_login_for_copies_of_its_cookie_too(site: Site, visitor: requests.Session) -> None:
    log_in(site, visitor)
    form = {'csrf': token(site, visitor), 'id': 'none', 'action': 'failed', 'then': '/runs'}
    cookies = visitor.cookies.copy()
    answer = post(site, '/reprocess', visitor, form)
    assert (answer.status_code, answer.headers['Location']) == (303, '/runs')
    assert 'no such document' in get(site, '/runs', visitor).text
    assert post(site, '/logout', visitor, form).status_code == 303
    visitor.cookies = cookies
    assert post(site, '/reprocess', visitor, form).status_code == 403


def test_a_wrong_password_is_no_login_and_the_cookie_is_for_this_site_alone(
    site: Site, visitor: requests.Session
) -> None:
    answer = post(site, '/login', visitor, {'csrf': token(site, visitor), 'password': 'wrong', 'then': '/'})
    assert answer.status_code == 403
    assert 'The password is wrong.' in answer.text
    cookie = get(site, '/login').headers['Set-Cookie'].lower()
    assert 'httponly' in cookie and 'samesite=strict' in cookie
    assert PASSWORD not in cookie


@pytest.mark.parametrize('then', ['https://evil.example/', '//evil.example/', '/\\evil.example', 'javascript:alert(1)'])
def test_a_login_leads_to_no_other_site(site: Site, visitor: requests.Session, then: str) -> None:
    form = {'csrf': token(site, visitor), 'password': PASSWORD, 'then': then}
    assert post(site, '/login', visitor, form).headers['Location'] == '/'


def test_what_was_skipped_and_the_kind_of_run_are_shown(site: Site) -> None:
    doc = {'_id': 'skipped', 'run': 'run of its own', 'status': 'good', 'condition': '<i>neutron</i>'}
    entry = {'name': 'calibrate', 'skipped': '<b>no calibration</b>', 'finished': 1.0}
    site.database.put({**doc, 'process': [entry]})
    try:
        for page in ('/run?name=run of its own', '/document?id=skipped'):
            shown = get(site, page).text
            assert '&lt;i&gt;neutron&lt;/i&gt;' in shown and '&lt;b&gt;no calibration&lt;/b&gt;' in shown, page
            assert 'skipped' in shown and '<b>no' not in shown and '<i>neutron' not in shown
    finally:
        site.database.delete(site.database.get('skipped'))
