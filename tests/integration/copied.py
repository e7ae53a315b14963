"""What tests of storage copy."""

from __future__ import annotations

CONTENT = bytes(range(256)) * 2000
LARGE = 24 * 1024 * 1024  # bytes; more than one piece, and than can be under way at once


def nothing(more: int) -> None:
    """Progress that nobody looks at."""
