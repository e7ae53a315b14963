"""A step of the suite whose callback does nothing: `python -m bench.contenders.step NUMBER [listener's options]`."""

from __future__ import annotations

import sys

import listener
from bench.work import STEPS, callback

if __name__ == '__main__':
    number = int(sys.argv.pop(1))
    after = STEPS[number - 1] if number else 0
    sys.exit(listener.main(callback, name=STEPS[number], after=after, failed='bench failed'))
