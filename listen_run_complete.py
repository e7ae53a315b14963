#!/usr/bin/env python3
"""Wait until all files of a closed run are past a step, and say so in the run's document.

A run is closed by `make_metadata.py N`, or by `make_metadata.py --close RUN`. Its document gets the entry
run_complete, after which steps of runs come. A file that failed is not waited for; when it was mended, or another one
was done again or comes late, the run is complete anew, and its steps are done again.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence

from edw import cli, config, logs
from edw.completing.completer import Completer
from edw.database import design, views
from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.listening.place import tell_of_unheard
from edw.model.documents import RUN_COMPLETE

STEP = 'signal_processing'  # that the files have to be past

log = logging.getLogger('listener')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = cli.parser(__doc__)
    parser.add_argument('--after', default=STEP, metavar='STEP', help=f'that the files have to be past ({STEP})')
    parser.add_argument('--once', action='store_true', help='look at all closed runs once, and exit')
    arguments = parser.parse_args(argv)
    logs.set_up(logging.INFO)
    database = Database(config.load(arguments.config))
    design.check(database, views=(views.PAST, views.CLOSED, views.RUNS))
    completer = Completer(database, arguments.after, Retry(threading.Event().wait, Outage()))
    if arguments.once:
        design.check_step(database, arguments.after)
        completer.check_all()
        return 0
    try:
        tell_of_unheard(RUN_COMPLETE, arguments.after, views.steps(database))
        completer.listen()
    except KeyboardInterrupt:  # each run is written by one request: there is nothing to finish
        log.info('stopping')
    return 0


if __name__ == '__main__':
    sys.exit(cli.ending(main))
