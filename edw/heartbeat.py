"""The door to the heartbeat process: `python -m edw.heartbeat`. What it does is in `edw/claiming/heartbeat.py`."""

from __future__ import annotations

import sys

from edw.claiming.heartbeat import main

if __name__ == '__main__':
    sys.exit(main())
