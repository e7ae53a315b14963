"""Files for scripts: what is in `edw/storage/`, by the names that they need."""

from __future__ import annotations

from edw.model.documents import entry_with_file, pass_of
from edw.storage.local import make_new_folder
from edw.storage.places import is_url, target_in
from edw.storage.transfer import Transfer, local_copy, new_file, transfer

__all__ = [
    'Transfer',
    'entry_with_file',
    'is_url',
    'local_copy',
    'make_new_folder',
    'new_file',
    'pass_of',
    'target_in',
    'transfer',
]
