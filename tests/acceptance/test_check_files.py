"""check_files.py finds what was really done to files, and writes it into the documents."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

import check_files
from edw.database.client import Database
from edw.keeping import strays
from edw.storage.places import aside_name, part_name
from tests.scripts import ANALYSIS, Scripts


@pytest.fixture
def ids(scripts: Scripts, database: Database) -> list[str]:
    """Three documents, of which two steps were done."""
    assert scripts.call('make_metadata.py', '3', '--events', '20').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    assert scripts.call(*ANALYSIS).returncode == 0
    return [f'ma22a000_{index:03d}' for index in range(3)]


def found(scripts: Scripts, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = scripts.call('check_files.py', '--json', *arguments)
    return done.returncode, json.loads(done.stdout)


def file_of(database: Database, doc_id: str, entry: int) -> Path:
    return Path(database.get(doc_id)['process'][entry]['file'])


def test_all_is_well_and_nothing_is_written_but_what_was_read(
    scripts: Scripts, database: Database, ids: list[str]
) -> None:
    before = database.info()['update_seq']
    code, told = found(scripts)
    assert code == 0 and told['is_well'] and (told['documents'], told['files']) == (3, 9)
    assert database.info()['update_seq'] == before
    code, told = found(scripts, '--md5')
    assert code == 0 and told['bytes_read'] > 0
    assert all(database.get(doc_id)['checked']['result'] == 'good' for doc_id in ids)


def test_what_is_wrong_is_found_named_and_written(
    scripts: Scripts, database: Database, ids: list[str], tmp_path: Path
) -> None:
    missing, short, flipped = ids
    Path(database.get(missing)['original_file']).unlink()
    os.truncate(file_of(database, short, 0), 1000)
    amplitudes = file_of(database, flipped, 1)
    content = amplitudes.read_bytes()
    amplitudes.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    shown = scripts.call('check_files.py')
    assert shown.returncode == 1 and '3 documents, 9 files: 2 files wrong' in shown.stdout
    assert 'is missing' in shown.stdout and f'{tmp_path}/sps/{short}.root' in shown.stdout
    assert database.get(missing)['checked']['wrong'][0]['what'] == 'missing'
    assert 'checked' not in database.get(flipped)  # its size is right

    code, told = found(scripts, '--md5')
    assert code == 1
    assert {one['doc_id']: one['what'] for one in told['wrong']} == {missing: 'missing', short: 'size', flipped: 'md5'}
    # A look at sizes does not take it back.
    assert found(scripts)[0] == 1
    assert database.get(flipped)['checked']['wrong'][0]['what'] == 'md5'
    amplitudes.write_bytes(content)
    found(scripts, '--md5')
    assert database.get(flipped)['checked'] == {**database.get(flipped)['checked'], 'result': 'good', 'wrong': []}


def test_only_the_runs_that_are_named(scripts: Scripts, database: Database, ids: list[str]) -> None:
    assert scripts.call('make_metadata.py', '1', '--events', '20').returncode == 0
    assert found(scripts, 'ma22a001')[1]['documents'] == 1
    refused = scripts.call('check_files.py', 'nosuchrun')
    assert refused.returncode == 1 and "no documents of a run 'nosuchrun'" in refused.stderr


def test_a_mount_that_is_missing_is_one_line_and_loses_no_file(
    scripts: Scripts, database: Database, ids: list[str], tmp_path: Path
) -> None:
    for make in (lambda: None, (tmp_path / 'sps').mkdir):
        if (tmp_path / 'sps').exists():
            (tmp_path / 'sps').rename(tmp_path / 'kept')
        make()
        shown = scripts.call('check_files.py', '--md5')
        assert shown.returncode == 1 and shown.stderr.count('\n') == 1, shown.stderr
        assert '(6 files not looked at)' in shown.stderr and 'missing' not in shown.stdout
        assert all('checked' not in database.get(doc_id) for doc_id in ids)


def test_what_a_copy_left_behind_is_told_with_its_document(
    scripts: Scripts, database: Database, ids: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays, 'YOUNG', 0.0)
    monkeypatch.setattr(strays, 'LEFT_OVER', 0.0)
    sps = tmp_path / 'sps'
    waiting = {**database.get(ids[1]), 'process': []}
    database.put(waiting)
    (sps / f'{ids[1]}.root').unlink()
    (sps / f'{ids[1]}.amp.root').unlink()
    (sps / part_name(f'{ids[1]}.root', waiting['md5sum'])).write_bytes(b'half')
    for name in (aside_name(f'{ids[0]}.root', 'a' * 32, 1), aside_name('run%2E7.root', 'b' * 32, 0)):
        (sps / name).write_bytes(b'other')
    told = {(one['what'], one['doc_id'], one['size']) for one in found(scripts)[1]['strays']}
    assert told == {('part', ids[1], 4), ('aside', ids[0], 5), ('aside', 'run.7', 5)}
    shown = scripts.call('check_files.py').stdout
    assert re.search(rf'set aside +{ids[0]} +5 bytes', shown) and re.search(
        rf'never finished +{ids[1]} +4 bytes', shown
    ), shown


def test_strays_and_files_that_were_never_finished(
    scripts: Scripts, database: Database, ids: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'raw' / 'unknown.root').write_bytes(b'x')
    part = tmp_path / 'sps' / '.edw-0123.part'
    part.write_bytes(b'xx')
    (tmp_path / 'sps' / '.hidden').touch()
    (tmp_path / 'sps' / 'link').symlink_to(tmp_path / 'raw' / f'{ids[0]}.root')
    code, told = found(scripts)
    assert code == 0 and told['young'] == 2  # all of it is young: it may be registered, or finished, soon
    assert 'none wrong, 0 strays, 2 files too new to tell\n' in scripts.call('check_files.py').stdout
    monkeypatch.setattr(strays, 'YOUNG', 0.0)
    code, told = found(scripts)
    assert code == 1 and [one['file'] for one in told['strays']] == [str(tmp_path / 'raw' / 'unknown.root')]
    assert told['young'] == 1
    monkeypatch.setattr(strays, 'LEFT_OVER', 0.0)
    assert [one['what'] for one in found(scripts)[1]['strays']] == ['unknown', 'part']
    assert found(scripts, 'ma22a000')[1]['strays'] == []


def test_a_claimed_document_is_checked_but_not_written(scripts: Scripts, database: Database, ids: list[str]) -> None:
    doc = database.get(ids[0])
    Path(doc['original_file']).unlink()
    database.put({**doc, 'claim': {'process': 'third', 'worker': 'somebody', 'since': time.time()}})
    code, told = found(scripts)
    assert code == 1 and told['wrong'][0]['doc_id'] == ids[0]
    assert told['unwritten'] == {ids[0]: 'a listener is at it'} and 'checked' not in database.get(ids[0])


def test_what_somebody_changed_meanwhile_is_kept(
    scripts: Scripts, database: Database, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for doc_id in ids:
        Path(database.get(doc_id)['original_file']).unlink()
    (Path(database.get(ids[0])['original_file']).parent / 'another').touch()
    real = check_files.checking.look

    def look(doc: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        looked = real(doc, *arguments, **options)
        now = Database(database.settings).get(doc['_id'])
        if doc['_id'] == ids[0]:
            database.put({**now, 'comments': ['mine']})
        if doc['_id'] == ids[1]:
            database.put({**now, 'process': now['process'][:1]})
        if doc['_id'] == ids[2]:
            database.delete(now)
        return looked

    monkeypatch.setattr(check_files.checking, 'look', look)
    told = found(scripts)[1]
    first = database.get(ids[0])
    assert first['comments'] == ['mine'] and first['checked']['result'] == 'bad'
    assert told['unwritten'] == {ids[1]: 'got other files meanwhile', ids[2]: 'was deleted meanwhile'}
    assert 'checked' not in database.get(ids[1])


def test_documents_are_read_page_by_page(
    scripts: Scripts, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('edw.keeping.pages.PAGE', 3)
    (tmp_path / 'raw').mkdir()
    (tmp_path / 'raw' / 'y').touch()
    docs = [{'_id': f'doc{index}', 'original_file': str(tmp_path / 'raw' / 'x')} for index in range(7)]
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    told = found(scripts)[1]
    assert [one['doc_id'] for one in told['wrong']] == [doc['_id'] for doc in docs]
