"""The documentation names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import generate

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [*sorted((ROOT / 'docs').glob('*.md')), ROOT / 'README.md']
TESTS = '\n'.join(file.read_text(encoding='utf-8') for file in (ROOT / 'tests').rglob('*.py'))


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding='utf-8')
    for target in re.findall(r'\]\((?!https?://)([^)#]+)', text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r'`((?:tests|edw|detector|couchapp|docs)/[\w./]*)`', text):
        assert (ROOT / path).exists(), path


def test_promises_name_tests_that_exist() -> None:
    text = (ROOT / 'docs' / 'guarantees.md').read_text(encoding='utf-8')
    named = re.findall(r'`(test_\w+)`', text)
    assert len(named) >= 5
    for name in named:
        assert f'def {name}(' in TESTS, name


def test_settings_are_described_as_they_are_declared() -> None:
    assert generate.PAGE.read_text(encoding='utf-8') == generate.page(), 'write it with: python -m docs.generate'


@pytest.mark.parametrize('script', sorted(ROOT.glob('*.py')), ids=lambda script: script.stem)
def test_every_script_is_in_the_documentation(script: Path) -> None:
    assert any(script.name in page.read_text(encoding='utf-8') for page in PAGES) or script.stem in ('demo', 'listener')
