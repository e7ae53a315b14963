"""The files that a document names, and which of them are copies of its original. Pure, and defined for any JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from edw.errors import Unprocessable
from edw.model import documents
from edw.model.documents import Document
from edw.storage.places import is_url, part_name, target_in

ORIGINAL = 'original'  # what the original is called where the files of others have their step's name

MD5 = re.compile(r'[0-9a-f]{32}')


@dataclass(frozen=True)
class Named:
    """A file that a document names.

    `role` is ORIGINAL, or the step that left it. `size` in bytes and `md5sum` are what it must have, None where the
    document does not say; `hostname` is the machine that knew it by this path, '' where nobody says. `is_copy`: it has
    the bytes of the original, as far as the document tells.
    """

    location: str
    role: str
    size: int | None
    md5sum: str | None
    hostname: str
    is_copy: bool


def files_of(doc: Document) -> list[Named]:
    """The original, and the files of each entry of `process`. Of entries with the same file the last one counts.

    Entries of the original scripts have no md5: such a file is one of the original's bytes where it has its name.
    """
    original, found = _text(doc.get('original_file')), _named(doc, [*_with_more_files(_entries(doc.get('process')))])
    if not original:
        return list(found.values())
    size, md5sum = _size(doc.get('size')), md5_of_field(doc.get('md5sum'))
    return [Named(original, ORIGINAL, size, md5sum, _reader(doc), False), *found.values()]


def superseded_of(doc: Document) -> list[Named]:
    """The files that only entries name which were cut from `process`, but for those that were deleted since."""
    entries = documents.superseded_entries(doc)
    deleted = {_text(entry.get('file')): entry.get('deleted') is not None for entry in entries}  # the last one counts
    now = set(current(doc))
    return [
        replace(file, role=f'{file.role} (superseded)', is_copy=False)
        for file in _named(doc, entries).values()
        if file.location not in now and not deleted[file.location]
    ]


def current(doc: Document) -> list[str]:
    """The locations that a document names now."""
    return [file.location for file in files_of(doc)]


def _named(doc: Document, entries: list[dict[str, Any]]) -> dict[str, Named]:
    """The files of entries, by their locations, without the original."""
    size, md5sum = _size(doc.get('size')), md5_of_field(doc.get('md5sum'))
    original = _text(doc.get('original_file'))
    found: dict[str, Named] = {}
    for entry in entries:
        location = _text(entry.get('file'))
        if not location or location == original:
            continue
        own = md5_of_field(entry.get('md5sum'))
        is_copy = md5sum is not None and (own == md5sum if own else location_name(location) in _names(doc))
        found[location] = Named(
            location,
            _text(entry.get('name')),
            size if is_copy else None,
            md5sum if is_copy else own,
            _text(entry.get('hostname')),
            is_copy,
        )
    return found


def copies_of(doc: Document) -> list[Named]:
    """Those that have the original's bytes, as far as the document tells, without the original."""
    return [file for file in files_of(doc) if file.is_copy]


def mentioned(doc: Document) -> list[str]:
    """All locations that a document holds, also of entries that were cut from `process`."""
    before = (_text(entry.get('file')) for entry in _with_more_files(documents.superseded_entries(doc)))
    return [*current(doc), *filter(None, before)]


def is_deleted(doc: Document) -> bool:
    """Whether the document says that its original was deleted, so that nobody misses it."""
    return doc.get('original_deleted') is not None


def md5_of_field(value: Any) -> str | None:
    """An md5 as a document has it, in small letters; None for what is none."""
    text = value.strip().lower() if isinstance(value, str) else ''
    return text if MD5.fullmatch(text) else None


def part_names(doc: Document) -> set[str]:
    """What copies of the original are called while they are made: those that are there, and one that is to come."""
    md5sum, original = md5_of_field(doc.get('md5sum')), _text(doc.get('original_file'))
    if md5sum is None:
        return set()
    names = {location_name(copy.location) for copy in copies_of(doc)}
    with suppress(Unprocessable):  # no step can make a copy of this one
        numbers = range(1, len(documents.superseded_entries(doc)) + 2)  # of whichever pass
        names |= {location_name(target_in('', str(doc.get('_id')), original, number)) for number in numbers}
    return {part_name(name, md5sum) for name in names}


def location_name(location: str) -> str:
    """The name of the file at a path or URL, in which nothing is quoted."""
    return location.rpartition('/')[2]


def _names(doc: Document) -> set[str]:
    """The names that a copy of the original has: the original's own, and its document's id with the same ending."""
    name = location_name(_text(doc.get('original_file')))
    return {name, f'{doc.get("_id")}{PurePosixPath(name).suffix}'} if name else set()


def _reader(doc: Document) -> str:
    """The machine that read the original by its path; '' where nobody has, or it was another that sent it on."""
    first = next(iter(_entries(doc.get('process'))), {})
    file = _text(first.get('file'))
    return _text(first.get('hostname')) if file and not is_url(file) else ''


def _entries(process: Any) -> list[dict[str, Any]]:
    return [entry for entry in process if isinstance(entry, dict)] if isinstance(process, list) else []


def _with_more_files(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Entries, and after each one for each of the further files that it names in its list `more_files`."""
    for entry in entries:
        yield entry
        shared: dict[str, Any] = {name: entry[name] for name in ('name', 'hostname') if name in entry}
        for more in _entries(entry.get('more_files')):
            yield {**shared, **more}


def _size(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ''
