"""The files of a document, what is written of them, and which files are one: without a server."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edw import files
from edw.errors import StepError, TryLater
from edw.keeping import checking, superseded
from edw.keeping.checking import BAD, GOOD, MD5, MISSING, Finding, Looked, checked
from edw.keeping.copies import ORIGINAL, Named, copies_of, files_of, mentioned, superseded_of
from edw.keeping.deleting import Candidate, Terms, needed, oldest_first, why_kept
from edw.keeping.looking import Looker, State, state_of
from edw.model.documents import pass_of
from edw.storage import space

A, B = 'a' * 32, 'b' * 32
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
FIELDS = ('original_file', 'size', 'md5sum', 'process', 'superseded', 'checked', 'original_deleted', 'run')


def document(*entries: Any, **fields: Any) -> dict[str, Any]:
    doc = {'_id': 'x', 'original_file': '/raw/x.root', 'size': 7, 'md5sum': A, 'status': 'good'}
    return {**doc, 'process': list(entries), **fields}


def named(location: str) -> Named:
    return Named(location, ORIGINAL, None, None, '', False)


def test_the_copy_is_told_by_its_md5_and_has_the_size_of_the_original() -> None:
    doc = document(
        {'name': 'move', 'file': '/sps/x.root', 'md5sum': A, 'hostname': 'h'},
        {'name': 'amp', 'file': '/sps/x.amp.root', 'md5sum': B},
        {'name': 'archive', 'file': 'sftp://u@tape/x', 'md5sum': A.upper()},
    )
    assert files_of(doc) == [
        Named('/raw/x.root', ORIGINAL, 7, A, 'h', False),
        Named('/sps/x.root', 'move', 7, A, 'h', True),
        Named('/sps/x.amp.root', 'amp', None, B, '', False),
        Named('sftp://u@tape/x', 'archive', 7, A, '', True),
    ]
    assert [copy.role for copy in copies_of(doc)] == ['move', 'archive']


def test_an_entry_may_name_more_files() -> None:
    entry = {'name': 'run_summary', 'file': '/sps/r.amp.root', 'md5sum': A, 'hostname': 'h'}
    entry['more_files'] = [{'file': '/sps/r.pdf', 'md5sum': B}, {'file': '/sps/r.txt'}, {'md5sum': A}, None]
    run = {'_id': 'r', 'process': [entry], 'superseded': [{'entries': [{'more_files': [{'file': '/old/r.pdf'}]}]}]}
    assert files_of(run) == [
        Named('/sps/r.amp.root', 'run_summary', None, A, 'h', False),
        Named('/sps/r.pdf', 'run_summary', None, B, 'h', False),
        Named('/sps/r.txt', 'run_summary', None, None, 'h', False),
    ]
    assert mentioned(run)[-1] == '/old/r.pdf'


@pytest.mark.parametrize(
    ('file', 'is_copy'),
    [('/sps/x.root', True), ('sftp://h/sps/x.root', True), ('/sps/x.amp.root', False), ('/sps/note.txt', False)],
)
def test_an_entry_without_md5_is_a_copy_where_it_has_the_name_of_the_original(file: str, is_copy: bool) -> None:
    (found,) = files_of(document({'name': 'move', 'file': file}))[1:]
    assert found.is_copy is is_copy and found.md5sum == (A if is_copy else None)


def test_a_file_that_a_later_step_wrote_anew_is_no_copy_any_more() -> None:
    doc = document({'name': 'move', 'file': '/sps/x', 'md5sum': A}, {'name': 'pack', 'file': '/sps/x', 'md5sum': B})
    assert copies_of(doc) == [] and len(files_of(doc)) == 2


def test_the_original_under_its_own_path_is_no_copy() -> None:
    assert copies_of(document({'name': 'look', 'file': '/raw/x.root', 'md5sum': A})) == []


def test_without_an_md5_of_the_document_nothing_is_a_copy() -> None:
    assert copies_of(document({'name': 'move', 'file': '/sps/x.root'}, md5sum=None)) == []


def test_files_of_entries_that_were_cut_are_mentioned() -> None:
    doc = document(superseded=[{'entries': [{'file': '/sps/old'}, None]}, 3])
    assert mentioned(doc) == ['/raw/x.root', '/sps/old']


@given(st.fixed_dictionaries({}, optional={name: ANY_JSON for name in FIELDS}))
def test_any_document_can_be_looked_at(fields: dict[str, Any]) -> None:
    doc = {'_id': 'x', **fields}
    looked = checking.look(doc, Looker(), True, Counter())
    checked(doc, looked, 1.0, 'h')
    mentioned(doc)
    superseded.old_files(doc, 1.0, Counter())
    superseded.Names(mentioned(doc)).seen(doc)
    assert pass_of(doc, 'move') >= 1 and pass_of(doc, 'move', A) >= 1


def test_files_of_superseded_entries_are_looked_at_unless_they_were_deleted_or_are_current() -> None:
    old = [
        {'name': 'amp', 'file': '/sps/x.amp.root', 'md5sum': B},
        {'name': 'move', 'file': '/sps/x.root', 'md5sum': A},
        {'name': 'gone', 'file': '/sps/gone', 'deleted': {'time': 1}},
    ]
    doc = document({'name': 'move', 'file': '/sps/x.root', 'md5sum': A}, superseded=[{'entries': old}, {'entries': 3}])
    assert superseded_of(doc) == [Named('/sps/x.amp.root', 'amp (superseded)', None, B, '', False)]
    assert [copy.role for copy in copies_of(doc)] == ['move']


def test_a_pass_is_counted_by_what_was_superseded() -> None:
    cuts = [[{'name': 'move', 'md5sum': A}, {'name': 'amp'}], [{'name': 'amp'}], [{'name': 'move', 'md5sum': B}]]
    doc = document({'name': 'move'}, superseded=[{'entries': cut} for cut in cuts])
    assert [pass_of(doc, step) for step in ('move', 'amp', 'other')] == [3, 3, 1]
    assert [pass_of(doc, 'move', md5sum) for md5sum in (A, B, 'c' * 32)] == [1, 2, 3]
    assert pass_of(doc, 'amp', A) == 1  # of the original scripts, which noted no md5


def finding(file: str, what: str) -> Finding:
    return Finding('x', '', ORIGINAL, file, what, f'is {what}')


def note(doc: dict[str, Any], looked: Looked) -> dict[str, Any]:
    version = checked(doc, looked, 5.0, 'h')
    assert version is not None
    return version['checked']


def test_sizes_that_are_right_are_no_news_but_bytes_that_were_read_are() -> None:
    assert checked(document(), Looked(files=1), 5.0, 'h') is None
    found = note(document(), Looked(files=1, with_md5=True))
    assert found == {'time': 5.0, 'hostname': 'h', 'md5': True, 'result': GOOD, 'wrong': []}


def test_a_wrong_md5_is_not_forgotten_by_a_look_at_sizes() -> None:
    bad = document(checked=note(document(), Looked([finding('/raw/x.root', MD5)], files=1, with_md5=True)))
    assert bad['checked']['result'] == BAD
    assert checked(bad, Looked(files=1), 6.0, 'h') is None
    assert note(bad, Looked(files=1, with_md5=True))['result'] == GOOD
    gone = note(bad, Looked([finding('/raw/x.root', MISSING)], files=1))
    assert [entry['what'] for entry in gone['wrong']] == [MISSING]


def test_what_is_missing_is_forgotten_when_it_is_back_but_not_when_its_place_is_away() -> None:
    bad = document(checked=note(document(), Looked([finding('/raw/x.root', MISSING)], files=1)))
    assert checked(bad, Looked(unseen=['/raw/x.root'], files=1, with_md5=True), 6.0, 'h') is None
    assert note(bad, Looked(files=1))['result'] == GOOD


def test_of_a_place_that_is_away_nothing_is_written() -> None:
    assert checked(document(), Looked(unseen=['/raw/x.root'], files=1, with_md5=True), 5.0, 'h') is None


def test_a_file_is_missing_only_where_its_folder_holds_something(tmp_path: Path) -> None:
    mount = tmp_path / 'mount'
    file = named(str(mount / 'raw' / 'x.root'))
    mount.mkdir()
    with pytest.raises(TryLater, match=f'{mount} is empty; is its disk mounted'):
        Looker().state(file)
    (mount / 'other').mkdir()
    with pytest.raises(TryLater, match=f'{mount}/raw is not there'):
        Looker().state(file)
    (mount / 'raw').mkdir()
    with pytest.raises(TryLater, match='raw is empty'):
        Looker().state(file)
    (mount / 'raw' / 'y.root').touch()
    assert Looker().state(file) is None


def test_a_file_that_another_machine_knows_is_not_missing_here(tmp_path: Path) -> None:
    (tmp_path / 'y').touch()
    other = Named(str(tmp_path / 'x'), 'move', None, None, 'elsewhere.example', True)
    with pytest.raises(TryLater, match=r'elsewhere\.example knows files there'):
        Looker().state(other)


def test_what_is_no_file_is_said_to_be_none(tmp_path: Path) -> None:
    for location in (str(tmp_path), 'x.root', '/a\0b'):
        with pytest.raises(StepError) as said:
            Looker().state(named(location))
        assert not isinstance(said.value, TryLater)


def test_one_file_is_known_by_all_of_its_names(tmp_path: Path) -> None:
    one, other = tmp_path / 'one', tmp_path / 'other'
    one.write_bytes(b'x')
    other.write_bytes(b'x')
    os.link(one, tmp_path / 'hard')
    (tmp_path / 'soft').symlink_to(one)
    states = {name: state_of((tmp_path / name).stat()) for name in ('one', 'other', 'hard', 'soft')}
    assert states['one'].is_same_file(states['hard']) and states['one'].is_same_file(states['soft'])
    assert not states['one'].is_same_file(states['other'])
    mounted_again = State(1, 99, *list(vars(states['one']).values())[2:])
    assert states['one'].is_same_file(mounted_again)
    assert not State(1).is_same_file(State(1))  # of other machines nothing is known


def test_bytes_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / 'x'
    file.write_bytes(b'content')
    assert Looker().md5(str(file)) == files.md5_of(file)


def test_a_file_system_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose server is gone: the call does not come back before the server does."""
    back, asked = threading.Event(), []

    def statvfs(folder: str) -> Any:
        asked.append(folder)
        back.wait()
        return real(folder)

    real = os.statvfs
    monkeypatch.setattr(os, 'statvfs', statvfs)
    assert space.usage('/', 0.01) is None and space.usage('/', 0.01) is None
    assert asked == ['/']  # one thread that hangs, and not one for each look
    back.set()
    assert space.usage('/', 60.0) is not None


def test_originals_are_chosen_oldest_first_and_no_more_than_needed() -> None:
    made = oldest_first(Candidate(name, '1-x', 'r', f'/{name}', 10, age) for age, name in enumerate('cab'))
    assert [one.doc_id for one in made] == ['c', 'a', 'b']
    assert [len(needed(made, lacking)) for lacking in (-1, 0, 1, 10, 11, 1000)] == [0, 0, 1, 1, 2, 3]


@given(
    st.fixed_dictionaries({'status': st.just('good')}, optional={name: ANY_JSON for name in (*FIELDS, 'datecreated')})
)
def test_of_any_document_it_is_told_whether_its_original_is_kept(fields: dict[str, Any]) -> None:
    assert why_kept({'_id': 'x', **fields}, Terms('step', 1e9, 1))
