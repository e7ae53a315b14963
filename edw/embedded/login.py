"""The login of an embedded server: one of its own for each data folder, kept there as curl and requests read it.

With one login for all, a script that met the server of somebody else's folder would work on what is there.
"""

from __future__ import annotations

import netrc
import secrets
from pathlib import Path
from typing import NamedTuple

from edw import cli
from edw.config import Settings, is_loopback
from edw.embedded import settings_file
from edw.errors import EdwError

FILE = '.netrc'  # in the folder; no database can have this name
USERNAME = 'edw'
PASSWORD_BYTES = 12


class Login(NamedTuple):
    """A login, and whether it is the folder's own."""

    username: str
    password: str
    is_own: bool


def login_of(folder: Path, settings: Settings) -> Login:
    """The login of a folder: its own, which is made where there is none, but for one that the settings give.

    That is how it was before folders had logins. What the settings have for another folder, or for a server elsewhere,
    does not count.
    """
    if (own := _read(folder / FILE)) is not None:
        return own
    written_for = settings_file.folder_of(settings)
    if (
        settings.username
        and settings.password
        and is_loopback(settings.server)
        and written_for in (None, str(folder.resolve()))
    ):
        return Login(settings.username, settings.password, False)
    made = Login(USERNAME, secrets.token_urlsafe(PASSWORD_BYTES), True)
    text = f'machine {cli.LOOPBACK} login {made.username} password {made.password}\n'
    try:
        settings_file.write_secretly(folder / FILE, text)
    except OSError as error:
        raise EdwError(f'{folder / FILE}: cannot be written: {error.strerror}') from None
    return made


def _read(file: Path) -> Login | None:
    try:
        found = netrc.netrc(file).authenticators(cli.LOOPBACK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EdwError(f'{file}: cannot be read: {error.strerror}') from None
    except (netrc.NetrcParseError, UnicodeDecodeError):
        found = None
    if found is None or not found[0] or not found[2]:
        raise EdwError(f'{file}: is no login of an embedded server. Delete it: the next start makes one.')
    return Login(found[0], found[2], True)
