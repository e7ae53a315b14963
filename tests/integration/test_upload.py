"""A newer design document replaces an older one while listeners work, and without a pause for those who read."""

from __future__ import annotations

from typing import Any

import pytest

from edw.config import Settings
from edw.database import design, warming
from edw.database.client import Database
from edw.errors import NotFound
from edw.model.documents import Document
from tests.conftest import Server
from tests.integration.test_listener import Running, seed
from tests.scripts import Scripts, wait_until
from upload_design import DESIGN_FILE

NEW = design.read(DESIGN_FILE)
IN_USE = ('lastproc', 'entries', 'claims', 'unplaced')  # by a listener
OLD: Document = {**NEW, 'views': {name: NEW['views'][name] for name in IN_USE}}
NEXT = NEW['_id'] + warming.NEXT


def changed(database: Database, server: Server) -> list[dict[str, Any]]:
    """The changes of design documents, in order."""
    rows = server.request('GET', f'{database.settings.dbname}/_changes').json()['results']
    return [row for row in rows if row['id'].startswith('_design/')]


def test_an_index_belongs_to_the_functions_and_not_to_the_name(empty_database: Database) -> None:
    design.upload(empty_database, OLD)
    seed(empty_database, 20)
    following = {**NEW, '_id': NEXT}
    design.upload(empty_database, following)
    warming.build_views(empty_database, following)
    design.upload(empty_database, NEW)
    # Of the index as it is: had it to be built, this would be empty.
    rows = empty_database.view(f'{NEW["_id"]}/_view/queue', reduce=False, stale='ok')['rows']
    assert len(rows) == 20
    empty_database.delete(empty_database.get(NEXT))
    assert len(empty_database.view(f'{NEW["_id"]}/_view/queue', reduce=False)['rows']) == 20


def test_the_state_of_an_index_can_be_asked_for(empty_database: Database) -> None:
    # As it is while views are built that take their time.
    design.upload(empty_database, OLD)
    assert isinstance(empty_database.design_info(OLD['_id']), dict)


def test_an_older_one_serves_until_the_views_are_built(empty_database: Database, server: Server) -> None:
    design.upload(empty_database, OLD)
    seed(empty_database, 20)
    assert warming.upload(empty_database, NEW)
    present = empty_database.get(NEW['_id'])
    assert design.is_same(present, NEW) and present['_rev'].startswith('2-')
    # The new one was put under the other name before it replaced the old one, and is gone from there.
    replaced, removed = changed(empty_database, server)
    assert (replaced['id'], removed['id'], removed.get('deleted')) == (NEW['_id'], NEXT, True)
    assert removed['changes'][0]['rev'].startswith('2-')
    assert not warming.upload(empty_database, NEW)
    assert len(changed(empty_database, server)) == 2


def test_a_first_one_needs_no_other_name(empty_database: Database, server: Server) -> None:
    assert warming.upload(empty_database, NEW)
    assert [row['id'] for row in changed(empty_database, server)] == [NEW['_id']]


@pytest.mark.parametrize('present', [OLD, NEW], ids=['old', 'new'])
def test_what_a_broken_off_upload_left_is_removed(empty_database: Database, present: Document) -> None:
    design.upload(empty_database, present)
    design.upload(empty_database, {**OLD, '_id': NEXT, 'views': {'lastproc': OLD['views']['lastproc']}})
    assert warming.upload(empty_database, NEW) == (present is OLD)
    assert design.is_same(empty_database.get(NEW['_id']), NEW)
    with pytest.raises(NotFound):
        empty_database.get(NEXT)


def test_listeners_go_on_meanwhile(empty_database: Database, scripts: Scripts, settings: Settings) -> None:
    design.upload(empty_database, OLD)

    def done() -> int:
        rows = empty_database.all_docs(include_docs=True)
        return sum(bool(row['doc'].get('process')) for row in rows)

    with Running(lambda doc: {}, settings):
        seed(empty_database, 20)
        wait_until(lambda: done() == 20)
        upload = scripts.run('upload_design.py')
        assert upload.returncode == 0 and 'uploaded _design/process' in upload.stdout
        rows = [{'_id': f'later{number}', 'status': 'good', 'process': []} for number in range(20)]
        assert all(row.get('ok') for row in empty_database.bulk_docs(rows))
        wait_until(lambda: done() == 40)
