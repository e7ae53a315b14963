"""The files of deploy/ are valid, and name what is there."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from edw.listening.exporter import Exporter
from edw.listening.steps import Step

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / 'deploy'
COMPOSE = yaml.safe_load((DEPLOY / 'compose.yaml').read_text(encoding='utf-8'))
RULES = yaml.safe_load((DEPLOY / 'prometheus-rules.yaml').read_text(encoding='utf-8'))
DASHBOARD = json.loads((DEPLOY / 'grafana-dashboard.json').read_text(encoding='utf-8'))
UNIT = DEPLOY / 'edw@.service'
NOT_OURS = {'up'}  # made by Prometheus itself


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES['groups'] for rule in group['rules']]


def dashboard_expressions() -> list[str]:
    """Those of the panels and of the variables."""
    of_panels = [target['expr'] for panel in DASHBOARD['panels'] for target in panel['targets']]
    queries = [variable['definition'] for variable in DASHBOARD['templating']['list'] if variable['type'] == 'query']
    return of_panels + [re.fullmatch(r'label_values\((.*), \w+\)', query).group(1) for query in queries]


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r'\b(?:edw_|process_)\w+|\bup\b', re.sub(r'"[^"]*"', '', expression)))


def exported() -> set[str]:
    families = list(Exporter(Step('a', 0, 'a failed')).registry.collect())
    assert families
    # A family without samples yet, such as the one that names the worker, is by its name.
    return {family.name for family in families} | {sample.name for family in families for sample in family.samples}


@pytest.mark.parametrize('expression', [rule['expr'] for rule in rules()] + dashboard_expressions())
def test_expressions_name_metrics_that_listeners_export(expression: str) -> None:
    named = metrics_in(expression)
    assert named and named <= exported() | NOT_OURS


def test_rules_are_alerts_that_say_what_is_wrong() -> None:
    names = [rule['alert'] for rule in rules()]
    assert len(names) == len(set(names)) >= 6
    for rule in rules():
        assert rule['labels']['severity'] in ('critical', 'warning')
        assert {'summary', 'description'} <= rule['annotations'].keys()


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    assert {'uid', 'title', 'schemaVersion', 'time', 'templating', 'annotations', 'panels'} <= DASHBOARD.keys()
    assert 'id' not in DASHBOARD or DASHBOARD['id'] is None  # a number would be that of another Grafana
    variables = {variable['name'] for variable in DASHBOARD['templating']['list']}
    ids = [panel['id'] for panel in DASHBOARD['panels']]
    assert len(ids) == len(set(ids)) >= 8
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD['panels']:
        assert {'title', 'type', 'datasource', 'gridPos', 'fieldConfig', 'options', 'targets'} <= panel.keys()
        place = panel['gridPos']
        cells = {
            (x, y)
            for x in range(place['x'], place['x'] + place['w'])
            for y in range(place['y'], place['y'] + place['h'])
        }
        assert not cells & taken and place['x'] + place['w'] <= 24, panel['title']
        taken |= cells
        assert len({target['refId'] for target in panel['targets']}) == len(panel['targets'])
    used = set(re.findall(r'\$\{?(\w+)', json.dumps(DASHBOARD))) - {'__rate_interval', '__all'}
    assert used == variables


def test_the_unit_does_not_try_again_what_is_useless() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(UNIT, encoding='utf-8')
    service = unit['Service']
    assert service['Restart'] == 'on-failure' and service['RestartPreventExitStatus'] == '2'
    assert service['KillMode'] == 'mixed'


def test_the_compose_file_names_what_is_there() -> None:
    assert {'couchdb', 'upload_design', 'make_member', 'listen_newfiles', 'listen_analysis1'} <= {*COMPOSE['services']}
    conditions = {'service_healthy', 'service_completed_successfully'}
    for service in COMPOSE['services'].values():
        for other, needed in service.get('depends_on', {}).items():
            assert needed['condition'] in conditions
            assert needed['condition'] != 'service_healthy' or 'healthcheck' in COMPOSE['services'][other]
        for volume in service.get('volumes', []):
            source = volume.split(':')[0]
            assert (DEPLOY / source).exists() if source.startswith('.') else source in COMPOSE['volumes']
    text = (DEPLOY / 'compose.yaml').read_text(encoding='utf-8')
    example = (DEPLOY / '.env.example').read_text(encoding='utf-8')
    assert set(re.findall(r'\$\{(\w+)', text)) <= set(re.findall(r'^(\w+)=', example, re.MULTILINE))


def test_the_dockerfile_copies_what_is_there() -> None:
    text = (DEPLOY / 'Dockerfile').read_text(encoding='utf-8')
    allowed = re.findall(r'^!(.+)', (DEPLOY / 'Dockerfile.dockerignore').read_text(encoding='utf-8'), re.MULTILINE)
    copied = [source for line in re.findall(r'^COPY (.+)', text, re.MULTILINE) for source in line.split()[:-1]]
    assert set(copied) == set(allowed)
    assert all(list(ROOT.glob(source)) for source in copied)
