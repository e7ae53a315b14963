"""What follows from the declaration of the settings in edw/config.py: edw.ini, and the table in docs/settings.md.

python -m docs.generate writes both, from the project's folder. A test fails where they are not as written.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from edw.config import DEFAULT_FILE, OPTIONS, SECTIONS, Option

PAGE = Path(__file__).resolve().parent / 'settings.md'
WIDTH = 116  # characters of a line in edw.ini, at most
BEGIN, END = '<!-- settings -->\n', '<!-- end of settings -->\n'
HEAD = (
    'Settings of every script. Only server and dbname must be there; what is left out has the default that '
    'docs/settings.md names. Your own go into local.edw.ini beside this file (git ignores it) or into the environment: '
    f'{", ".join(option.variable for option in OPTIONS if option.variable)}.'
)


def ini() -> str:
    """The text of edw.ini."""
    parts = [_comment(HEAD)]
    for section in SECTIONS:
        parts.append(f'\n[{section}]\n')
        parts += [_lines(option) for option in OPTIONS if option.section == section]
    return ''.join(parts)


def table() -> str:
    """The table of docs/settings.md."""
    lines = ['| section | option | default | environment | meaning |', '| --- | --- | --- | --- | --- |']
    before = ''
    for option in OPTIONS:
        section = '' if option.section == before else f'`[{option.section}]`'
        default = 'none: must be set' if option.default is None else _code(option.default) or 'empty'
        cells = (section, _code(option.name), default, _code(option.variable), option.help)
        lines.append('|' + ''.join(f' {cell} |' if cell else ' |' for cell in cells))
        before = option.section
    return '\n'.join(lines) + '\n'


def page() -> str:
    """The text of docs/settings.md, with the table of today."""
    text = PAGE.read_text(encoding='utf-8')
    head, _, rest = text.partition(BEGIN)
    return f'{head}{BEGIN}{table()}{END}{rest.partition(END)[2]}'


def _lines(option: Option) -> str:
    """An option in edw.ini, under its meaning; what few sites need is a comment."""
    value = option.default if option.shipped is None else option.shipped
    return f'{_comment(f"{option.help}.")}{"# " * option.rare}{f"{option.name} = {value}".rstrip()}\n'


def _comment(markdown: str) -> str:
    plain = re.sub(r'`|\[([^]]*)\]\([^)]*\)', r'\1', markdown)
    return textwrap.fill(plain, WIDTH, initial_indent='# ', subsequent_indent='# ', break_on_hyphens=False) + '\n'


def _code(text: str) -> str:
    return f'`{text}`' if text else ''


if __name__ == '__main__':
    DEFAULT_FILE.write_text(ini(), encoding='utf-8')
    PAGE.write_text(page(), encoding='utf-8')
