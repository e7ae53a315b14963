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
    """A login, and whether the folder has just taken it over from the settings."""

    username: str
    password: str
    is_of_settings: bool


def login_of(folder: Path, settings: Settings) -> Login:
    """The login of a folder, which it keeps: where it has none, that of the settings, or else a new one.

    So a folder of before there were logins goes on with its own, and so does one that is made anew. What the settings
    have for another folder, or for a server elsewhere, does not count.
    """
    if (own := _read(folder / FILE)) is not None:
        return own
    written_for = settings_file.folder_of(settings)
    is_of_settings = bool(
        settings.username
        and settings.password
        and is_loopback(settings.server)
        and written_for in (None, str(folder.resolve()))
    )
    username, password = (
        (settings.username, settings.password) if is_of_settings else (USERNAME, secrets.token_urlsafe(PASSWORD_BYTES))
    )
    if any(character in '"\'\\' or character.isspace() for character in username + password):
        return Login(username, password, is_of_settings)  # readers of such files differ in what they make of these
    text = f'machine {cli.LOOPBACK} login {username} password {password}\n'
    try:
        settings_file.write_secretly(folder / FILE, text)
    except OSError as error:
        raise EdwError(f'{folder / FILE}: cannot be written: {error.strerror}') from None
    return Login(username, password, is_of_settings)


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
    return Login(found[0], found[2], False)
