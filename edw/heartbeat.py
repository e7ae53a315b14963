"""The door to the heartbeat process: `python -m edw.heartbeat`. What it does is in `edw/claiming/`."""

from __future__ import annotations

import sys

from edw.claiming.ear import hear


def main() -> int:
    """Hear the listener, and beat for it if it is still there when that is needed. Returns the exit code."""
    if (ear := hear()) is None:
        return 0
    from edw.claiming import beats  # only now: see `ear.py`

    return beats.run(ear)


if __name__ == '__main__':
    sys.exit(main())
