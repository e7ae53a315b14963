"""The log of a script: lines on stderr with time stamps, without secrets."""

from __future__ import annotations

import logging
from contextvars import ContextVar

from edw.redact import redact

LONGEST_SEQUENCE = 16  # characters


# The id of the document that a callback works on, in its thread: several write into one log.
working_on: ContextVar[str] = ContextVar('working_on', default='')


class RedactingFormatter(logging.Formatter):
    """Takes secrets out of the finished line, traceback included; what a callback says begins with its document."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without its traceback."""
        doc_id = working_on.get()
        if doc_id:
            record.message = f'{doc_id}: {record.message}'
        return super().formatMessage(record)

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
