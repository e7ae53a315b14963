"""What a location is, how a document's file is called, and which errors mean that a place is away."""

from __future__ import annotations

import errno
import os
import string
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edw.errors import StepError, TryLater, Unprocessable
from edw.storage import places
from edw.storage.places import is_away, is_url, parse, quoted, target_in

IDS = st.text(st.characters(exclude_categories=['Cs']), min_size=1, max_size=60)


@pytest.mark.parametrize('doc_id', ['ma22a000_000', 'run-1', 'a+b=c,d', 'Lauf_ä'])
def test_a_plain_id_stands_in_the_name_as_it_is(doc_id: str) -> None:
    assert target_in('/sps', doc_id, '/mnt/other.root') == f'/sps/{doc_id}.root'


@given(IDS)
def test_an_id_can_be_read_from_the_name(doc_id: str) -> None:
    assert unquote(quoted(doc_id), errors='strict') == doc_id
    assert not set(quoted(doc_id)) & set('/.:#?*[]"\'\\ \n\t\0')


@given(IDS, IDS, st.sampled_from(['.root', '.amp.root', '', '.x']), st.sampled_from(['.root', '.amp.root', '', '.x']))
def test_two_documents_never_share_a_name(one: str, other: str, ending: str, other_ending: str) -> None:
    first, second = (quoted(doc_id) + end for doc_id, end in ((one, ending), (other, other_ending)))
    assert (first == second) == ((one, ending) == (other, other_ending))


@pytest.mark.parametrize(
    ('one', 'other'),
    [('a/x', 'a%2Fx'), ('x.amp', 'x'), ('x.root', 'x'), ('\u00e9', 'e\u0301'), ('.', '..'), ('a b', 'a+b')],
)
def test_ids_that_are_easily_mixed_up(one: str, other: str) -> None:
    endings = ('.root', '.amp.root')
    names = {target_in('/sps', doc_id, ending) for doc_id in (one, other) for ending in endings}
    assert len(names) == 4 and all(Path(name).parent == Path('/sps') for name in names)


@pytest.mark.parametrize(
    ('original', 'name'),
    [
        ('/a/x.root', 'id.root'),
        ('/a/x.2013.root', 'id.root'),
        ('/a/x', 'id'),
        ('/a/.x', 'id'),
        ('sftp://host/run#1.root', 'id.root'),
        ('sftp://host/run?1.ro#ot', 'id.ro%23ot'),
        ('/a/x.ro ot', 'id.ro%20ot'),
    ],
)
def test_the_ending_is_that_of_the_original(original: str, name: str) -> None:
    assert target_in('sftp://host/sps/', 'id', original) == f'sftp://host/sps/{name}'


@pytest.mark.parametrize('doc_id', ['x' * 251, 'ä' * 126, '/' * 84])
def test_a_name_that_is_too_long_is_said_with_its_length(doc_id: str) -> None:
    with pytest.raises(Unprocessable, match=r'too long, 25\d bytes'):
        target_in('/sps', doc_id, '/x.root')
    assert len(os.fsencode(Path(target_in('/sps', doc_id[:83], '/x.root')).name)) <= 255


@pytest.mark.parametrize('path', ['/a#b?c%20d::e f\'"\n', '/a://b', '/ä/x:y', '//x'])
def test_a_path_is_taken_as_it_is(path: str) -> None:
    place = parse(path)
    assert (place.path, place.location, place.is_local, is_url(path)) == (path, path, True, False)


@pytest.mark.parametrize('path', ['/run#1.root', '/run?1.root', '/a::b', '/%41', '//a/b', '/a b', '/ä', '/a@b:c'])
def test_the_path_of_a_url_is_taken_as_it_is(path: str) -> None:
    place = parse(f'sftp://me@host:22{path}')
    assert (place.authority, place.path, place.hostname) == ('me@host:22', path, 'host')
    assert place.location == f'sftp://me@host:22{path}' and not place.is_local
    assert place.beside('y').location == f'sftp://me@host:22{path.rpartition("/")[0]}/y'


def test_the_host_of_an_address_in_brackets() -> None:
    assert parse('sftp://[::1]:22/x').hostname == '::1' and parse('sftp://[::1]/x').hostname == '::1'


def test_a_url_of_this_machine_is_a_path() -> None:
    assert parse('file:///a/x#1.root').location == '/a/x#1.root'


@pytest.mark.parametrize(
    'location',
    ['', 'x.root', '/', '/a/..', '/a/.', 'sftp://host', 'sftp://host/', 'simplecache::sftp://host/x', 'file://host/x'],
)
def test_what_is_no_file(location: str) -> None:
    with pytest.raises(Unprocessable, match='absolute path or URL'):
        parse(location)


@pytest.mark.parametrize('location', ['sftp://host/~/x', 'ssh://me@host/~you/x'])
def test_a_home_is_not_guessed(location: str) -> None:
    with pytest.raises(Unprocessable, match='give the whole path'):
        parse(location)
    assert parse('/~/x').path == '/~/x' and parse('sftp://host/a/~/x').path == '/a/~/x'


@pytest.mark.parametrize('location', ['/a\0b', 'sftp://host/a\nb', 'sftp://host/a\tb', '/a\ud800'])
def test_what_no_name_can_hold_is_refused(location: str) -> None:
    with pytest.raises(Unprocessable, match='holds'):
        parse(location)


@pytest.mark.parametrize('name', ['ENOSPC', 'EDQUOT', 'ESTALE', 'EIO', 'ENOTCONN', 'EHOSTUNREACH', 'EROFS'])
def test_errors_of_a_place(name: str) -> None:
    number = getattr(errno, name)
    error = OSError(number, os.strerror(number))
    assert is_away(error) == os.strerror(number)
    wrapped = ValueError('some package')
    wrapped.__cause__ = error
    assert is_away(wrapped) == os.strerror(number)
    assert places.is_full(wrapped) == (name in ('ENOSPC', 'EDQUOT'))


@pytest.mark.parametrize(
    'error',
    [
        FileNotFoundError(errno.ENOENT, 'No such file'),
        PermissionError(errno.EACCES, 'Permission denied'),
        OSError('uproot'),
        ValueError('x'),
        StepError('x'),
        TryLater('x'),
    ],
)
def test_errors_of_one_file(error: Exception) -> None:
    assert is_away(error) is None


@pytest.mark.parametrize('error', [TimeoutError(), ConnectionResetError('by peer'), BrokenPipeError()])
def test_errors_of_a_connection_without_a_number(error: Exception) -> None:
    assert is_away(error)


@given(st.text(string.ascii_letters + 'ä', min_size=1, max_size=300), st.integers(0, 12))
def test_a_name_of_what_is_set_aside_is_never_too_long(name: str, number: int) -> None:
    aside = places.aside_name(name, '0' * 32, number)
    assert len(os.fsencode(aside)) <= places.LONGEST_NAME and '0' * 32 in aside and aside.endswith('.aside')


def test_each_pass_has_a_name_of_its_own_and_the_first_the_plain_one() -> None:
    names = [target_in('/sps', 'a.b', '.amp.root', number) for number in (1, 2, 10)]
    assert names == ['/sps/a%2Eb.amp.root', '/sps/a%2Eb.2.amp.root', '/sps/a%2Eb.10.amp.root']
    assert target_in('/sps', 'a', '/raw/x.root', 2) == '/sps/a.2.root'
