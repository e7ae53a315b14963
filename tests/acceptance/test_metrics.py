"""--metrics as its user meets it: a scrape of a real listener, a port that is taken, and nothing by default."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from edw.database.client import Database
from tests.scripts import ROOT, Process, Scripts, wait_until
from tests.unit.test_deploy import NOT_OURS, dashboard_expressions, metrics_in, rules


def scrape(listener: Process) -> str:
    listener.wait_for('metrics: http')
    url = re.search(r'metrics: (http\S+)', listener.output).group(1)
    with urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def test_a_listener_answers_with_all_that_rules_and_dashboard_name(scripts: Scripts, database: Database) -> None:
    database.put({'_id': 'x', 'status': 'good', 'process': []})
    listener = scripts.listen('listen_newfiles.py', '--metrics', '0')
    # The document tells of the failure before the listener has the answer, and counts it.
    wait_until(lambda: 'edw_attempts_total{outcome="failed",step="move_to_sps"} 1.0' in scrape(listener))
    text = scrape(listener)
    exported = set(re.findall(r'^(\w+)[{ ]', text, re.MULTILINE))
    for expression in [rule['expr'] for rule in rules()] + dashboard_expressions():
        assert metrics_in(expression) <= exported | NOT_OURS, expression
    assert listener.stop() == 0


def test_a_port_that_is_taken_is_one_line(scripts: Scripts, database: Database) -> None:
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        done = scripts.call('listen_newfiles.py', '--metrics', str(port))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f'error: --metrics: 127.0.0.1:{port} cannot be listened on: Address already in use'
    ]


@pytest.mark.parametrize('address', ['x', '65536', 'localhost:', '-1'])
def test_what_is_no_address(scripts: Scripts, address: str) -> None:
    done = scripts.call('listen_newfiles.py', f'--metrics={address}')
    assert done.returncode == 2 and 'is not [HOST:]PORT' in done.stderr


def test_a_host_is_listened_on_alone(scripts: Scripts, database: Database) -> None:
    listener = scripts.listen('listen_newfiles.py', '--metrics', '127.0.0.2:0')
    assert 'edw_listener_info' in scrape(listener)
    port = re.search(r'metrics: http://127.0.0.2:(\d+)/', listener.output).group(1)
    with pytest.raises(URLError):
        urlopen(f'http://127.0.0.1:{port}/metrics', timeout=30)
    assert listener.stop() == 0


def test_a_listener_that_nobody_measures_does_without_the_package() -> None:
    code = 'import sys, listener; sys.exit("prometheus_client" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=False).returncode == 0


def test_without_the_package_the_option_says_what_is_missing(scripts: Scripts, database: Database) -> None:
    code = (
        'import sys; sys.modules["prometheus_client"] = None; import runpy; sys.argv[:] = sys.argv[1:];'
        'runpy.run_path(sys.argv[0], run_name="__main__")'
    )
    command = [sys.executable, '-c', code, 'listen_newfiles.py', '--config', str(scripts.config), '--metrics', '0']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith('error: --metrics needs the package prometheus_client')
