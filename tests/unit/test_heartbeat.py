"""The process that writes a listener's heartbeat, without a server."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edw.claiming.ear import ENDS, HOLDS_CLAIMS, HOLDS_NONE
from edw.claiming.heartbeat import PROJECT
from tests.scripts import LIMIT
from tests.unit.memory import SETTINGS

NOWHERE = 'http://127.0.0.1:9'


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Says on its standard error what it imports."""
    with subprocess.Popen(
        [sys.executable, '-X', 'importtime', '-m', 'edw.heartbeat'],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=PROJECT,
    ) as started:
        yield started
        started.kill()


def order(heartbeat: float) -> bytes:
    settings = dataclasses.replace(SETTINGS, server=NOWHERE, heartbeat=heartbeat, lease=2 * heartbeat)
    values = {'settings': dataclasses.asdict(settings), 'presence': {'listener': 'here:1:abc', 'step': 'first'}}
    return json.dumps(values, default=str).encode() + b'\n'


def test_a_listener_that_is_done_before_the_first_beat_pays_for_no_import(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(order(heartbeat=1000.0) + HOLDS_CLAIMS + HOLDS_NONE + ENDS, timeout=LIMIT)
    assert process.returncode == 0
    assert b'edw.claiming.ear' in said
    dear = (b'requests', b'edw.claiming.beats', b'edw.config', b'logging', b'dataclasses', b'typing', b'subprocess')
    assert not [name for name in dear if re.search(rb'\b%s$' % name, said, re.MULTILINE)]


def test_one_that_dies_before_the_first_beat_has_its_claims_released(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(order(heartbeat=0.1) + HOLDS_CLAIMS, timeout=LIMIT)
    assert process.returncode == 1
    assert b'the last words of here:1:abc cannot be written: ' + NOWHERE.encode() in said
