"""From values to HTML: the templates, and how times, numbers and addresses are written in them."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from edw.operating import display
from edw.operating.checks import is_left_alone, is_silent, nobody_listens
from edw.operating.display import is_ahead
from edw.redact import redact
from web.charts import LEGEND, file_steps, segments

FOLDER = Path(__file__).resolve().parent
LONGEST_JSON = 200_000  # characters of a document that a page shows
INDENT, LINE = 2, 64  # characters of its JSON
THIN_SPACE = '\u202f'  # between thousands; it does not break


def page(template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """The answer with a template as its page."""
    return HTMLResponse(html(template, **values).encode('utf-8', 'replace'), status_code)


def html(template: str, **values: Any) -> str:
    """A template with its values. Everything in it is escaped."""
    return _environment.get_template(template).render(values)


def number(value: int) -> str:
    """With its thousands apart."""
    return f'{value:,}'.replace(',', THIN_SPACE)


def moment(epoch: Any, form: str = '%Y-%m-%d %H:%M:%S') -> Markup:
    """A point in time, in the time zone of this machine; what is none as it stands."""
    local = _local(epoch)
    if local is None:
        return escape('' if epoch is None else epoch)
    return Markup('<time datetime="{}">{}</time>').format(local.isoformat(timespec='seconds'), local.strftime(form))


def since(epoch: Any, now: float | None = None, ending: str = '') -> Markup:
    """The time that has passed since then, with the ending. The page's script keeps it up to date in the same words."""
    local = _local(epoch)
    if local is None:
        return Markup()
    now = time.time() if now is None else now
    passed = 'in the future' if is_ahead(epoch, now) else duration(round(now - epoch)) + ending
    return Markup('<time datetime="{}" data-since="{:.0f}" data-ending="{}">{}</time>').format(
        local.isoformat(timespec='seconds'), epoch, ending, passed
    )


def duration(seconds: float | None) -> str:
    """In the largest unit that gives a number of two digits or so; dashboard.js says the same."""
    if seconds is None:
        return ''
    for size, unit in ((86400, 'd'), (3600, 'h'), (60, 'min')):
        if seconds >= 2 * size:
            return f'{seconds // size:.0f} {unit}'
    return f'{seconds:.2g} s' if 0 < seconds < 10 and seconds != int(seconds) else f'{max(seconds, 0):.0f} s'


def address(path: str, **query: str | None) -> str:
    """A path of this site. Ids and names go into the query, where every character has its place, also `.` and `/`."""
    # JSON can hold half a surrogate pair, which is no character.
    known = {name: value.encode('utf-8', 'replace') for name, value in query.items() if value is not None}
    return f'{path}?{urlencode(known)}' if known else path


def pretty_json(value: Any) -> str:
    """JSON for people: what fits into a line is on one line. Cut off behind LONGEST_JSON."""
    text = _json(value, 0)
    if len(text) <= LONGEST_JSON:
        return text
    return f'{text[:LONGEST_JSON]}\n… {len(text) - LONGEST_JSON} more characters'


def _json(value: Any, depth: int) -> str:
    """With a margin of `depth` steps for all lines but the first."""
    line = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, (dict, list)) or (depth and len(line) + INDENT * depth <= LINE):
        return line
    margin = ' ' * INDENT * (depth + 1)
    if isinstance(value, dict):
        parts = [f'{json.dumps(name, ensure_ascii=False)}: {_json(part, depth + 1)}' for name, part in value.items()]
    else:
        parts = [_json(part, depth + 1) for part in value]
    first, last = '{}' if isinstance(value, dict) else '[]'
    return f',\n{margin}'.join([f'{first}\n{margin}{parts[0]}', *parts[1:]]) + f'\n{" " * INDENT * depth}{last}'


def time_zone() -> str:
    """That of this machine, in which the pages give all times."""
    now = datetime.now().astimezone()
    name, offset = now.strftime('%Z'), now.strftime('%z')
    return name if name == 'UTC' else f'{name} (UTC{offset[:3]}:{offset[3:5]})'


def _local(epoch: Any) -> datetime | None:
    if isinstance(epoch, bool) or not isinstance(epoch, (int, float)):
        return None
    try:
        return datetime.fromtimestamp(epoch).astimezone()
    except (OverflowError, ValueError, OSError):
        return None  # a number, but no time


_environment = Environment(
    loader=FileSystemLoader(FOLDER / 'templates'),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    number=number,
    moment=moment,
    since=since,
    duration=duration,
    pretty_json=pretty_json,
    redact=redact,
    bytes=display.size,
)
_environment.globals.update(
    address=address,
    time_zone=time_zone,
    segments=segments,
    file_steps=file_steps,
    legend=LEGEND,
    is_left_alone=is_left_alone,
    is_silent=is_silent,
    nobody_listens=nobody_listens,
)
