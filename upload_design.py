#!/usr/bin/env python3
"""Put the design document, design.process.json, on the database, and build its views.

Makes the database where it is missing. Does nothing where the design document is the same already. An older one
serves until the views of the new one are built, so that listeners go on meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edw import cli, config
from edw.database import design, warming
from edw.database.client import Database
from edw.operating.display import show_place

DESIGN_FILE = Path(__file__).resolve().parent / 'design.process.json'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = cli.parser(__doc__).parse_args(argv)
    database = Database(config.load(arguments.config))
    doc = design.read(DESIGN_FILE)
    design.check_viewname(database.settings, doc)
    show_place(database.place())
    if database.create():
        print('created the database')
    if warming.upload(database, doc):
        print(f'uploaded {doc["_id"]}')
    else:
        print(f'{doc["_id"]} is up to date, nothing to upload')
    print('the views are built')
    return 0


if __name__ == '__main__':
    sys.exit(cli.ending(main))
