"""Secrets out of everything that is printed, logged or written into a document.

Two things can go wrong. A secret that stays is read by others: databases of this kind have been world-readable. A
secret that is a common word, and is hidden wherever its letters occur, takes paths and messages with it: with the
password "data" a failure would speak of /***/raw. So there are three rules, of which the first two need not know the
secret:

1. Where nothing but a secret stands, all of it is hidden: the user information of URLs, the headers Authorization and
   Cookie, and the value that belongs to a key such as password, apikey, token or secret (`password=…`, `"token": "…"`).
2. Of the login that this process knows, its base64, as it stands in a Basic header, is hidden everywhere.
3. A secret that this process knows is hidden wherever its letters occur: as they are, percent-quoted, or escaped as
   JSON, Python or HTML do it. But one that is *common* (see below) is hidden only as a whole word, and only where a
   secret can stand: after the name of such a key ("password data", "password: 'data'"), after its user name
   ("edw:data", "('edw', 'data')"), and where a parser names what it took for a port ("value as 'data'").

A secret is common (`is_common`) if it would be found in texts that have nothing to do with it:

- it is shorter than 4 characters, or has nothing but letters and digits and is shorter than 6;
- it is one word, or one number, and shorter than 6 ("data", "1234");
- all words in it are among those that this suite itself writes into paths, logs and documents, with no more than a
  year's digits and with `_`, `-`, `.`, `/` or spaces between them ("signal_processing", "data2013");
- it stands in the settings openly: as a folder, the database's or the user's name, or part of the server's address.

Everything else counts as a real secret. In doubt a secret is hidden: a strange word in an error can be asked for.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections.abc import Iterable
from typing import NamedTuple

HIDDEN = '***'
SHORTEST = 4  # characters of a secret that is hidden everywhere
SHORTEST_ALPHANUMERIC = 6  # of letters and digits: shorter ones occur in checksums and names of runs
SHORTEST_WORD = 6  # of letters alone, or of digits alone
SHORTEST_BASE64 = 8  # of a login
MOST_DIGITS = 4  # beside words of the suite: more are no year and no number of a disk

WORDS_OF_THE_SUITE = """
    account acquisition acquiring admin amp analyse analysis apikey arrivals attempt attempts auth authorization
    background batch bolometer bolometers bundle bytes calibration callback catalogue chain change changes checked
    claim claims claimed cloudant comment comments condition conditions config container cookie couch couchapp
    couchdb count created cryostat dashboard data database databases datecreated demo design detector detectors dir
    directory document documents edelweiss edw edwexample error errors event events experiment export failed failure
    failures false file filename files filter finished folder good heartbeat home host hostname http https hostnames
    id ids ini input json known lastproc lease library listen listener listeners local localhost log login logs
    logging main make mask md5sum measurement message meta metadata metrics mnt move moved name names netrc new newfiles
    no noise none null of original output parameters pass password passwords path physics pretrigger process
    processed processes processing production public pulse pulses python raw reason redact register registered
    release released reprocess request root run runs sample sampling samples script scripts seconds secret secrets
    server servers service session set settings sftp share show signal since site size software source spectra
    spectrum sps srv start started status step steps storage store superseded temperature template test tests text
    the time to token trace traceback traces transfer trigger true tmp type unavailable unprocessable update upload
    url user username users usr value values var version view views volts waiting watch web work worker workers
    written
"""
WORDS = frozenset(WORDS_OF_THE_SUITE.split())

# The last @ before the path: an unquoted one may be part of the password.
USER_INFORMATION = re.compile(r"""(?<=://)[^/?#\s'"]*@""")
# Without one of these in it, in small letters, a text needs not be searched for what follows: most log lines are not.
HINTS = (
    'authorization',
    'basic',
    'bearer',
    'cookie',
    'authsession',
    'passw',
    'passphrase',
    'pwd',
    'key',
    'token',
    'secret',
)
KEY = r'(?:passw(?:or)?d|passphrase|pwd|api[-_]?key|token|secret)'
ASSIGNED = rf"""({KEY}\\?["']?\s*[=:]{{1,2}}\s*b?)"""
QUOTE = r"""\\?["']"""
ALWAYS = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # Authorization: Basic …, and the same in quotes, as a dict of headers is printed
        (rf"""(authorization(?:{QUOTE})?\s*[:=,]\s*(?:b?{QUOTE})?)(?:[a-z]+\s+)?[^\s,;'"\\]+""", rf'\1{HIDDEN}'),
        (r'\b((?:basic|bearer)\s+)(?=\S*[\d=])[\w+/.~-]{8,}=*', rf'\1{HIDDEN}'),
        # Cookie: NAME=VALUE; NAME=VALUE
        (
            rf"""(cookie(?:{QUOTE})?\s*[:=,]\s*(?:b?{QUOTE})?)[^\s=;,'"\\]{{1,100}}=[^\s;'"\\]*(?:;\s*[^\s;'"\\]+)*""",
            rf'\1{HIDDEN}',
        ),
        (rf"""(authsession(?:{QUOTE})?\s*[:=]\s*(?:{QUOTE})?)[^\s;,'"\\]+""", rf'\1{HIDDEN}'),
        # password="…", "password": "…", and within a string of JSON: what is quoted stays quoted
        (rf'{ASSIGNED}"(?:[^"\\]|\\.)*"', rf'\1"{HIDDEN}"'),
        (rf"{ASSIGNED}'(?:[^'\\]|\\.)*'", rf"\1'{HIDDEN}'"),
        (rf'{ASSIGNED}\\"(?:(?!\\").)*\\"', rf'\1\\"{HIDDEN}\\"'),
        # password=…, token = …, "password": 1234
        (rf"""({KEY}["']?\s*=(?!=)\s*)(?![*"'\\])[^\s,;&"'(){{}}\[\]<>]+""", rf'\1{HIDDEN}'),
        (rf"""({KEY}\\?["']\s*:\s*)-?\d[\d.e+-]*""", rf'\1{HIDDEN}'),
    )
)


class _Rule(NamedTuple):
    """How a secret is hidden."""

    written: re.Pattern[str]  # matches it in all its forms, wherever it stands
    pattern: re.Pattern[str]  # matches what is replaced
    replacement: str


_lock = threading.Lock()
_known: dict[str, _Rule] = {}  # by secret


def keep_secret(secret: str, username: str = '', openly: Iterable[str] = ()) -> None:
    """Let `redact` know a password or token of this process, the user's name that goes with it, and what is no secret.

    `openly` are texts that people are to read: a secret that is a part of one of them is common.
    """
    if not secret:
        return
    openly = {part for text in (*openly, username) for part in _parts(text)}
    hidden = {}
    if username:
        for encoding in ('utf-8', 'latin-1'):
            basic = base64.b64encode(f'{username}:{secret}'.encode(encoding, 'replace')).decode().rstrip('=')
            if len(basic) >= SHORTEST_BASE64:
                pattern = re.compile(f'{_written(basic)}=*')
                hidden[basic] = _Rule(pattern, pattern, HIDDEN)
    written = re.compile(_written(secret))
    if is_common(secret, openly):
        hidden[secret] = _Rule(written, _where_a_secret_can_stand(secret, username), rf'\g<before>{HIDDEN}')
    else:
        hidden[secret] = _Rule(written, written, HIDDEN)
    global _known
    with _lock:
        if secret in _known and not openly:
            return  # who told of it first knew more about it
        # A new dict, because other threads go through the old one. The longest first, which may hold a shorter one.
        _known = dict(sorted({**_known, **hidden}.items(), key=lambda item: -len(item[0])))


def redact(text: str) -> str:
    """`text` without the user information of URLs and without any secret of this process."""
    for rule in _known.values():
        if rule.written.search(text):
            text = rule.pattern.sub(rule.replacement, text)
    if '@' in text:
        text = USER_INFORMATION.sub('', text)
    lowered = text.lower()
    if any(hint in lowered for hint in HINTS):
        for pattern, replacement in ALWAYS:
            text = pattern.sub(replacement, text)
    return text


def is_common(secret: str, openly: Iterable[str] = ()) -> bool:
    """Whether a secret would be found in texts that have nothing to do with it. `openly` are words in lower case."""
    if len(secret) < SHORTEST or secret.casefold() in openly:
        return True
    if secret.isalnum() and len(secret) < SHORTEST_ALPHANUMERIC:
        return True
    if (secret.isalpha() or secret.isdecimal()) and len(secret) < SHORTEST_WORD:
        return True
    if not re.fullmatch(r'[\w./ -]+', secret) or len(re.findall(r'\d', secret)) > MOST_DIGITS:
        return False
    words = re.findall(r'[^\W\d_]+', secret)
    return bool(words) and all(word.casefold() in WORDS for word in words)


def _parts(text: str) -> set[str]:
    """The text and what it is made of, folders, names and endings, in lower case; without a URL's user information."""
    text = USER_INFORMATION.sub('', text).casefold()
    return {part for part in (text, *re.split(r'[/\\:\s]+', text), *re.split(r'[^\w-]+', text)) if part}


def _where_a_secret_can_stand(secret: str, username: str) -> re.Pattern[str]:
    """Matches a common secret as a whole word, behind `before`, which says that it is one. A path's part is no word."""
    before = [
        rf"""(?i:{KEY}|\bpass)s?(?:{QUOTE})?(?:\s*(?:[:=,]|\bis\b|\bwas\b)\s*|\s+)b?(?:{QUOTE}|[(\[<])?""",
        rf'value as {QUOTE}',
        r'://[^\s/]*:',
    ]
    if username:
        user = _written(username)
        before += [rf'(?<![\w/]){user}:', rf'{QUOTE}{user}{QUOTE},\s?b?{QUOTE}']
    return re.compile(rf'(?P<before>{"|".join(before)}){_written(secret)}(?![\w~/-]|\.\w)')


def _written(text: str) -> str:
    """A pattern for a text whose characters may be quoted or escaped, each as URLs, JSON, Python or HTML do it."""
    return ''.join(re.escape(char) if re.fullmatch(r'[A-Za-z0-9_.~-]', char) else _quoted(char) for char in text)


def _quoted(char: str) -> str:
    """A pattern for one character, as it is, quoted or escaped."""
    units = char.encode('utf-16-be', 'surrogatepass').hex()
    forms = {char, json.dumps(char)[1:-1], repr(char)[1:-1], html.escape(char), f'\\{char}'}
    if char == ' ':
        forms.add('+')
    numbers = (
        re.sub('(..)', r'%\1', char.encode('utf-8', 'surrogatepass').hex()),
        re.sub('(....)', r'\\\\u\1', units),
    )
    # The longest first: a backslash alone would leave the rest of its escape.
    exact = '|'.join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return f'(?:(?i:{"|".join(numbers)})|{exact})'
