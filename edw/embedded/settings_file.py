"""What the scripts use: written into the local settings file, local.edw.ini, which only its owner may read."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from edw.config import ENVIRONMENT, Settings
from edw.errors import SettingsError

SECTION = 'Cloudant'
NOTE = '# The embedded server with its data in '  # stands before the folder; it is read again
OF_LOGIN = ('server', 'username', 'password', 'iam_apikey')
MODE = 0o600


def local_file(settings: Settings) -> Path:
    """The local settings file beside the one that was read."""
    return settings.file.with_name(f'local.{settings.file.name}')


def folder_of(settings: Settings) -> str | None:
    """The folder whose server the local settings file was written for; None where nobody wrote one for any."""
    lines = _lines(local_file(settings))
    return next((line.removeprefix(NOTE) for line in lines if line.startswith(NOTE)), None)


def overriding() -> list[str]:
    """Variables of the environment that are set, and count before the local settings file."""
    return [name for name, option in ENVIRONMENT.items() if option.name in OF_LOGIN and name in os.environ]


def use(settings: Settings, folder: Path, server: str, username: str, password: str) -> Path:
    """Have the scripts use a server: what the local settings file had instead stays in it as a comment.

    But for the login of another embedded server, which its folder has. Returns the file. Raises SettingsError where it
    cannot be written.
    """
    file = local_file(settings)
    wanted = {'server': server, 'username': username, 'password': password}
    written = [f'{NOTE}{folder.resolve()}', *(f'{name} = {value}' for name, value in wanted.items())]
    kept: list[str] = []
    section, place = '', None
    lines = _lines(file)
    was_embedded = any(line.startswith(NOTE) for line in lines)
    for line in lines:
        if heading := re.match(r'\[(.*)\]', line):
            section = heading[1]
        option = re.match(r'\s*(\w+)\s*[=:]\s*(.*)', line)
        is_of_login = section == SECTION and option is not None and option[1].lower() in OF_LOGIN
        if line.startswith(NOTE) or line in written or (is_of_login and was_embedded):
            continue
        if is_of_login:
            line = f'# before: {line.strip()}'
        kept.append(line)
        if heading and section == SECTION:
            place = len(kept)
    if place is None:
        kept, place = [f'[{SECTION}]', *([''] if kept else []), *kept], 1
    kept[place:place] = written
    try:
        write_secretly(Path(os.path.realpath(file)), '\n'.join(kept) + '\n')
    except OSError as error:
        raise SettingsError(f'{file}: cannot be written: {error.strerror}') from None
    return file


def write_secretly(file: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all. Raises OSError."""
    temporary = file.with_name(f'.{file.name}.{secrets.token_hex(4)}')
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), 'w', encoding='utf-8') as stream:
            stream.write(text)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding='utf-8').splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f'{file}: cannot be read: {getattr(error, "strerror", None) or error}') from None
