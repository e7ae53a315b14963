"""The design document: is it there, is it the one of the file, are its views built."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from edw.config import Settings
from edw.database import views
from edw.database.client import Database
from edw.errors import NoDesign, NoSuchStep, NotFound, SettingsError
from edw.model import chain, documents
from edw.model.documents import Document

FUNCTIONS = ('language', 'views', 'filters')  # what makes two design documents do the same
STEPS = (views.ENTRIES, views.CLAIMS, views.FAILED)  # views that tell which steps there are
FILTER = 'with_process'


def read(file: Path) -> Document:
    """The design document in a file. Raises SettingsError."""
    try:
        doc = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise SettingsError(f'{file}: cannot be read as a design document: {error}') from None
    if not isinstance(doc, dict) or not str(doc.get('_id')).startswith('_design/'):
        raise SettingsError(f'{file}: is not a design document: its _id must begin with _design/')
    return doc


def check_viewname(settings: Settings, doc: Document) -> None:
    """Raise SettingsError unless `viewname` of the settings is a view of this design document."""
    names = [f'{doc["_id"]}/_view/{name}' for name in doc.get('views', {})]
    if settings.viewname not in names:
        raise SettingsError(f'{settings.file}: [Cloudant] viewname {settings.viewname} is none of {", ".join(names)}.')


def present_one(database: Database, design: str) -> Document:
    """The design document that is on the database; an empty one where there is none."""
    try:
        return database.get(design)
    except NotFound:
        return {}


def is_same(present: Document, doc: Document) -> bool:
    """Whether two design documents do the same."""
    return all(present.get(field) == doc.get(field) for field in FUNCTIONS)


def upload(database: Database, doc: Document) -> bool:
    """Put the design document on the database. False where it does the same as the one that is there."""
    present = present_one(database, doc['_id'])
    if is_same(present, doc):
        return False
    database.put({**doc, '_rev': present['_rev']} if present else doc)
    return True


def check(database: Database, **needed: tuple[str, ...]) -> None:
    """Raise NoDesign unless the design document has what is needed: `views=(NAME, …)`, `filters=(NAME, …)`."""
    design = database.settings.design
    way_out = 'Put it there with: python upload_design.py'
    try:
        present = database.get(design)
    except NotFound:
        # A missing database answers 404 too, and says so itself.
        database.info()
        raise NoDesign(f'{database.url} has no design document {design}. {way_out}') from None
    for kind, names in needed.items():
        for name in names:
            if name not in _mapping(present.get(kind)):
                raise NoDesign(f'{database.url}: {design} has no {name} in its {kind}. {way_out}')


def check_step(database: Database, step: str, known: Collection[str] = ()) -> None:
    """Raise NoSuchStep where no document has ever been at a step, so that its name is wrong; `known` are others."""
    check(database, views=STEPS)
    steps = views.steps(database)
    if step not in {*steps, *known, documents.RUN_COMPLETE}:
        raise NoSuchStep(chain.unheard_of(step, {*steps, *known}))


def unplaced(database: Database, limit: int) -> list[str]:
    """Good documents whose place in the chain cannot be told, `ID (reason)`, the first `limit` of them."""
    rows = views.rows(database, views.UNPLACED, reduce=False, limit=limit)
    return [f'{row["id"]} ({row["key"]})' for row in rows]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
