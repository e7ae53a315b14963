"""One step on one document, a job of bench/contenders/files.smk: `python -m … STEP DOCUMENT RESULT`, both of JSON."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from bench.work import STEPS, step_on
from edw import config


def main(step: str, document: str, result: str) -> None:
    """Run it."""
    config.current.set(replace(config.load(), sps=os.environ['BENCH_SPS']))
    if step == STEPS[0]:
        from listen_newfiles import move_to_sps as callback
    else:
        from listen_analysis1 import signal_processing as callback
    doc = step_on(json.loads(Path(document).read_text(encoding='utf-8')), step, callback)
    Path(result).write_text(json.dumps(doc), encoding='utf-8')


if __name__ == '__main__':
    main(*sys.argv[1:])
