"""The log of a script: lines on stderr with time stamps, without secrets."""

from __future__ import annotations

import logging

from edw.redact import redact

LONGEST_SEQUENCE = 16  # characters


class RedactingFormatter(logging.Formatter):
    """Takes secrets out of the finished line, traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line as it is printed."""
        return redact(super().format(record))


def set_up(level: int) -> None:
    """Log to stderr, with time stamps."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter('%(asctime)s.%(msecs)03d %(message)s', '%Y-%m-%d %H:%M:%S'))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in ('edw', 'listener'):
        logging.getLogger(name).setLevel(level)


def short_sequence(sequence: object) -> str:
    """A sequence of the database: CouchDB's are opaque strings of a hundred characters and more."""
    text = str(sequence)
    return text if len(text) <= LONGEST_SEQUENCE else f'{text[: LONGEST_SEQUENCE - 1]}…'
