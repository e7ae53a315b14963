"""Secrets out of everything that is printed, logged or written into a document."""

from __future__ import annotations

import re
from urllib.parse import quote

USER_INFORMATION = re.compile(r'(?<=://)[^/\s@\'"]+@')

_secrets: set[str] = set()


def keep_secret(secret: str) -> None:
    """Let `redact` know a password or token of this process."""
    if secret:
        _secrets.update({secret, quote(secret, safe='')})


def redact(text: str) -> str:
    """`text` without the user information of URLs and without any secret of this process."""
    text = USER_INFORMATION.sub('', text)
    for secret in tuple(_secrets):  # another thread may learn one meanwhile
        text = text.replace(secret, '***')
    return text
