#!/usr/bin/env python3
"""Show the state of the chain in browsers, live: what waits, runs, is done and has failed, down to each document.

The pages only show, unless dashboard_password is set in the settings: then whoever knows it may have steps done again.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import re
import sys
from collections.abc import Sequence

from edw import cli, config, logs
from edw.database import design
from edw.errors import Unavailable
from edw.operating import status
from web import serving
from web.app import application
from web.blocking import Databases
from web.live import Live

DEFAULT_PORT = 8050

log = logging.getLogger('edw.dashboard')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        '--host', type=cli.host, default='127.0.0.1', help='address to listen at (default: %(default)s, this machine)'
    )
    parser.add_argument(
        '--port', type=cli.port, default=DEFAULT_PORT, help='port; 0 takes a free one (default: %(default)s)'
    )
    parser.add_argument(
        '--public-name',
        type=_host_name,
        metavar='NAME',
        action='append',
        default=[],
        help='host name under which an HTTPS reverse proxy serves the pages; may be given several times',
    )
    arguments = parser.parse_args(argv)
    logs.set_up(logging.INFO)
    settings = config.load(arguments.config)
    databases = Databases(settings)
    try:
        with databases.lent() as database:
            design.check(database, views=status.VIEWS)
            log.info('database %s', database.place())
    except Unavailable as error:
        log.warning('%s; the pages say so until it answers', error)
    listener = serving.listening(arguments.host, arguments.port)
    if settings.dashboard_password and not _is_loopback(arguments.host) and not arguments.public_name:
        log.warning('the password goes over the network in the clear; serve the pages through an HTTPS reverse proxy')
    live = Live(databases)
    app = application(databases, live, arguments.host, tuple(arguments.public_name))
    host = f'[{arguments.host}]' if ':' in arguments.host else arguments.host
    url = f'http://{host}:{listener.getsockname()[1]}/'

    def stop() -> None:
        log.info('stopping')
        live.end()

    serving.serve(app, listener, on_ready=lambda: print(f'dashboard at {url}', flush=True), on_stop=stop)
    return 0


def _host_name(text: str) -> str:
    # An asterisk would let every page elsewhere in.
    if not re.fullmatch(r'[\w-]+(\.[\w-]+)*', text, re.ASCII):
        raise argparse.ArgumentTypeError(f'{text!r} is not the name of a host')
    return text.lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


if __name__ == '__main__':
    sys.exit(cli.ending(main))
