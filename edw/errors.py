"""The one tree of exceptions. The text of each is one or two lines: the thing, and the way out."""

from __future__ import annotations

# Kinds of failures, by which they are grouped, where the error is this project's own.
FILE_MISSING = 'file missing'
UNREADABLE = 'cannot be read'
MD5_DIFFERS = 'md5 differs'
SIZE_DIFFERS = 'size differs'
NOT_DATA = 'not a data file'
NO_FILE = 'no regular file'
NAME_IN_USE = 'name in use'
NAME_TOO_LONG = 'name too long'
NO_PATH = 'not a path or URL'
DENIED = 'permission denied'
NO_ENTRY = 'wrong entry'  # what the callback returned
FIELD_MISSING = 'field missing'  # of the document


class EdwError(Exception):
    """An expected error. Scripts print its text without a traceback and end with `exit_code`."""

    exit_code = 1


class SettingsError(EdwError):
    """The command line or the settings are wrong."""

    exit_code = 2


class DatabaseError(EdwError):
    """The server answered, and the answer is no."""


class LoginRefused(DatabaseError):
    """401. Never tried again in a loop: CouchDB 3.4 and later lock an address out after five."""


class Forbidden(DatabaseError):
    """403: the login is right, but may not do this."""


class NotFound(DatabaseError):
    """404: no such document, view or filter."""


class NoDatabase(NotFound):
    """404: no such database."""


class NoDesign(NotFound):
    """The design document, or the view or filter that a script needs of it, is not there."""


class Conflict(DatabaseError):
    """409: the document has another revision by now."""


class BadRequest(DatabaseError):
    """400: the server cannot make sense of what was sent."""


class TooLarge(DatabaseError):
    """413: a document, or a request with many, is larger than the server takes."""


class Unstorable(DatabaseError):
    """A document holds what no JSON database can keep: it is not sent. `word` is for the row of a bulk write."""

    word = 'unstorable'


class TooDeep(Unstorable):
    """A document is nested too deep to be worked with, or to be written: it is left alone."""

    word = 'too_deep'


class Unavailable(DatabaseError):
    """A transient error: refused or reset connections, timeouts, 429, 5xx, half an answer. Waiting can mend it.

    `retry_after` is what the server asked for, in seconds, or None. `way_out` is a line for people who give up or begin
    to wait; it is no part of the text, which others quote again and again.
    """

    def __init__(self, message: str, retry_after: float | None = None, way_out: str = '') -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.way_out = way_out


class NoSuchStep(EdwError):
    """No document has ever been at a step of this name."""


class NoSuchRun(EdwError):
    """No document is of a run of this name."""

    def __init__(self, database: str, run: str) -> None:
        """`database` is its URL."""
        super().__init__(f'{database} has no documents of a run {run!r}')


class StepError(EdwError):
    """A step could not be done on this document now; another attempt may succeed.

    `kind` is a word or two by which failures are grouped, such as `md5 differs`: the same for all documents with this
    fault. Without one they are grouped by the type of the error.
    """

    kind = ''

    def __init__(self, message: object = '', kind: str = '') -> None:
        super().__init__(message)
        self.kind = kind or type(self).kind


class Unprocessable(StepError):
    """A step cannot be done on this document, and trying again is useless."""


class TryLater(StepError):
    """A place is away: a full disk, a mount that is gone, a host that refuses. It is no fault of the document.

    Raised by a callback. No attempt is counted: the document goes back, and the step waits, as for the database.
    """
