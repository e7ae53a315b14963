"""The files of deploy/, as the programs that they are for see them."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.programs import docker_compose, program
from tests.unit.test_deploy import COMPOSE, DEPLOY, ROOT, UNIT, dashboard_expressions, rules

SERVICES = [name for name, service in COMPOSE['services'].items() if 'command' in service]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_promtool_takes_the_rules_and_the_scrape_configuration() -> None:
    promtool = program('promtool', package='prometheus')
    # It names the rules, relative to itself, and they are checked with it.
    done = run(promtool, 'check', 'config', DEPLOY / 'prometheus.yaml')
    assert done.returncode == 0 and f'{len(rules())} rules found' in done.stdout, done.stdout + done.stderr


def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    promtool = program('promtool', package='prometheus')
    text = (Path(__file__).parent / 'prometheus-rules.test.yaml').read_text(encoding='utf-8')
    assert all(text.count(rule['alert']) == 2 for rule in rules())
    file = tmp_path / 'rules.test.yaml'
    file.write_text(
        text.replace('RULES', str(DEPLOY / 'prometheus-rules.yaml')).replace('NANS', ' '.join(['NaN'] * 600))
    )
    done = run(promtool, 'test', 'rules', file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    promtool = program('promtool', package='prometheus')
    expressions = [text.replace('$__rate_interval', '5m') for text in dashboard_expressions()]
    records = [{'record': f'dashboard:{number}', 'expr': expr} for number, expr in enumerate(expressions)]
    file = tmp_path / 'dashboard.yaml'
    file.write_text(yaml.safe_dump({'groups': [{'name': 'dashboard', 'rules': records}]}))
    done = run(promtool, 'check', 'rules', file)
    assert done.returncode == 0 and f'{len(records)} rules found' in done.stdout, done.stdout + done.stderr


def test_the_unit_file_is_one_that_systemd_takes(tmp_path: Path) -> None:
    analyze = program('systemd-analyze', package='systemd')
    text = UNIT.read_text(encoding='utf-8').replace('/opt/edw/.venv/bin/python', sys.executable)
    (tmp_path / UNIT.name).write_text(text.replace('/opt/edw', str(ROOT)))
    done = run(analyze, 'verify', tmp_path / 'edw@listen_newfiles.service')
    assert done.returncode == 0 and not done.stderr, done.stderr


def options_of(script: str) -> set[str]:
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
        patch.setattr(sys, 'argv', [script, '--help'])
        patch.setattr(signal, 'signal', lambda number, handler: None)  # a script's handlers are not for the tests
        runpy.run_path(str(ROOT / script), run_name='__main__')
    assert not ended.value.code
    return set(re.findall(r'--?[a-z][\w-]*', said.getvalue()))


@pytest.mark.parametrize('name', SERVICES)
def test_services_start_scripts_with_options_that_these_know(name: str) -> None:
    script, *arguments = COMPOSE['services'][name]['command']
    assert (ROOT / script).exists()
    assert {argument for argument in arguments if argument.startswith('-')} <= options_of(script)


def test_docker_compose_takes_the_file(tmp_path: Path) -> None:
    command = docker_compose()
    file = tmp_path / 'env'
    file.write_text((DEPLOY / '.env.example').read_text(encoding='utf-8').replace('PASSWORD=', 'PASSWORD=x'))
    done = run(*command, '-f', DEPLOY / 'compose.yaml', '--env-file', file, 'config')
    assert done.returncode == 0, done.stderr
