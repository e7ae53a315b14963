"""Which errors mean that a place is away."""

from __future__ import annotations

import errno
import os

AWAY = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ESTALE,
        errno.EIO,
        errno.ENODEV,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EPIPE,
    }
)


def is_away(error: BaseException) -> str | None:
    """The reason, where an error means that a place is away, and no fault of the document; else None."""
    if not isinstance(error, OSError):
        return None
    if error.errno in AWAY:
        return error.strerror or os.strerror(error.errno)
    return str(error) if isinstance(error, (TimeoutError, ConnectionError)) else None
