"""Who has a port of this machine, and which one is free."""

from __future__ import annotations

import socket

import requests

from edw.cli import LOOPBACK
from edw.config import LAST_PORT
from edw.database.login import folder_in

TIMEOUT = 3.0  # seconds for an answer of whoever has the port
OLDER_REALM = 'edw local couchdb'  # of embedded servers that do not tell their folder


def is_free(port: int) -> bool:
    """Whether a server can be started on a port of this machine."""
    with socket.socket() as asked:
        # As servers do: what is left of closed connections takes no port.
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asked.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_after(port: int) -> int:
    """The next port that is free; any that is, where there is none up to the last."""
    found = next((number for number in range(port + 1, LAST_PORT + 1) if is_free(number)), 0)
    return found or any_free()


def any_free() -> int:
    """A port that is free now."""
    with socket.socket() as asked:
        asked.bind((LOOPBACK, 0))
        number: int = asked.getsockname()[1]
        return number


def holder(port: int) -> tuple[str, str | None]:
    """Who has a port, in words, and the folder of the data where it is an embedded server that tells it."""
    try:
        # Neither a proxy of the environment nor a login of ~/.netrc belongs to a question like this.
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f'http://{LOOPBACK}:{port}/', timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException:
        return 'something that is no CouchDB', None
    if (folder := folder_in(answer)) is not None:
        return f'an embedded server with its data in {folder}', folder
    if OLDER_REALM in answer.headers.get('WWW-Authenticate', ''):
        return 'an embedded server of an older version', None
    if 'couchdb' in answer.headers.get('Server', '').lower() or b'"couchdb"' in answer.content:
        return 'another CouchDB', None
    return 'something that is no CouchDB', None
