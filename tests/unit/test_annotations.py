"""What people say of documents, as pure changes of them."""

from __future__ import annotations

from typing import Any

import pytest

from edw.errors import SettingsError
from edw.model import documents
from edw.operating import annotations, reprocessing
from edw.operating.annotations import Said, quality_of, tags_of

SAID = Said('anna', 1000.0)


@pytest.mark.parametrize('status', ['good', 'failed move to sps', 'under discussion', None, 7])
def test_a_held_document_waits_and_goes_back_to_what_it_was(status: Any) -> None:
    doc = {'_id': 'x', 'status': status, 'process': []}
    held = annotations.hold(doc, 'warm', SAID)
    assert not documents.is_free(held, 0) and not documents.is_failed_status(held['status'])
    assert held['hold'] == {'reason': 'warm', 'by': 'anna', 'time': 1000.0, 'status': status}
    assert annotations.hold(held, 'again', SAID) == held
    assert annotations.release(held) == doc


def test_a_document_without_a_status_can_be_held() -> None:
    held = annotations.hold({'_id': 'x'}, 'why', SAID)
    assert annotations.release(held) == {'_id': 'x', 'status': 'good'}


def test_a_file_that_is_still_written_is_not_held() -> None:
    doc = {'_id': 'x', 'status': documents.ACQUIRING}
    assert annotations.hold(doc, 'why', SAID) == doc


def test_what_ends_while_it_is_held_stays_held() -> None:
    claimed = documents.claimed({'_id': 'x', 'status': 'good', 'process': []}, 'first', 'here:1:abc', 1.0)
    held = annotations.hold(claimed, 'warm', SAID)
    done = documents.with_entry(held, {'name': 'first'})
    assert not documents.is_free(done, 'first') and documents.is_free(annotations.release(done), 'first')
    failed = documents.failed_for_good(documents.with_failure(held, {'process': 'first'}), 'first failed')
    assert failed['status'] == documents.HELD


def test_requeuing_does_not_release() -> None:
    held = annotations.hold({'_id': 'x', 'status': 'first failed', 'process': [{'name': 'first'}]}, 'warm', SAID)
    assert reprocessing.requeued(held) == held
    cut = reprocessing.cut_before(held, 'first', 1.0, 'here')
    assert cut['status'] == documents.HELD and cut['process'] == []


def test_tags_are_there_once_and_others_keep_theirs() -> None:
    doc = annotations.tag({'_id': 'x'}, 'golden', SAID)
    assert annotations.tag(doc, 'golden', Said('bert', 2000.0)) == doc
    both = annotations.tag(doc, 'blind', SAID)
    assert tags_of(both) == ['golden', 'blind'] and tags_of(annotations.untag(both, 'golden')) == ['blind']
    assert annotations.untag(doc, 'none') == doc


def test_comments_add_up_and_quality_is_the_last_word() -> None:
    doc = annotations.comment(annotations.comment({'_id': 'x'}, 'one', SAID), 'two', Said('bert', 2000.0))
    assert [(one['text'], one['by']) for one in doc['comments']] == [('one', 'anna'), ('two', 'bert')]
    rated = annotations.rate(annotations.rate(doc, 'bad', SAID), 'good', SAID)
    assert quality_of(rated) == 'good' and annotations.rate(rated, 'good', Said('bert', 1.0)) == rated


@pytest.mark.parametrize('odd', [None, 'golden', {'name': 'golden'}, 3])
def test_what_others_wrote_there_is_kept(odd: Any) -> None:
    doc = {'_id': 'x', 'tags': odd, 'comments': odd}
    assert odd in annotations.tag(doc, 'blind', SAID)['tags'] and odd in annotations.comment(doc, 'y', SAID)['comments']


@pytest.mark.parametrize(
    'asked', [{}, {'reason': ''}, {'text': '  '}, {'tags': ['']}, {'quality': 'fine'}, {'text': 'x' * 10_001}]
)
def test_nothing_to_say_is_an_error(asked: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        annotations.changes(SAID, **asked)


def test_what_was_said_of_a_run() -> None:
    one, two = ({'_id': doc_id, 'status': 'good'} for doc_id in 'ab')
    docs = [annotations.comment(annotations.tag(doc, 'golden', SAID), 'warm', SAID) for doc in (one, two)]
    docs[0] = annotations.hold(annotations.comment(docs[0], 'first', Said('bert', 500.0)), 'mains', SAID)
    docs[1] = annotations.rate(docs[1], 'bad', SAID)
    found = annotations.notes(
        [*docs, {'_id': 'c', 'tags': 3, 'comments': 'x', 'quality': [], 'hold': 1, 'status': 'held'}]
    )
    assert found.tags == {'golden': 2} and found.qualities == {'bad': 1} and found.holds == {'mains': 1, '': 1}
    assert found.comments == [(500.0, 'bert', 'first'), (1000.0, 'anna', 'warm')]
