from __future__ import annotations

import logging

from edw import logs
from edw.redact import keep_secret, redact


def test_user_information_and_known_secrets_go() -> None:
    keep_secret('h%sh hush')
    assert redact('see https://me:pw@host/x and sftp://you@other/') == 'see https://host/x and sftp://other/'
    assert redact('it is h%sh hush or h%25sh%20hush') == 'it is *** or ***'


def test_an_empty_password_is_no_secret() -> None:
    keep_secret('')
    assert redact('abc') == 'abc'


def test_log_lines_are_redacted_with_their_traceback() -> None:
    keep_secret('very-hush')
    try:
        raise ValueError('https://me:pw@host says very-hush')
    except ValueError as error:
        record = logging.LogRecord(
            'x', 40, __file__, 1, 'at %s', ('very-hush',), (ValueError, error, error.__traceback__)
        )
    line = logs.RedactingFormatter('%(message)s').format(record)
    assert 'very-hush' not in line.replace("ValueError('https://me:pw@host says very-hush')", '')
    assert 'Traceback' in line
    assert 'me:pw' not in line
