"""The layout is the architecture: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = {file.stem for file in ROOT.glob('*.py')}
HEAVY = {'numpy', 'scipy', 'uproot', 'awkward', 'matplotlib'}

# The rooms of edw/, lowest first; '' is edw itself. A module imports from its own room and from those before it.
ROOMS = ('', 'storage', 'model', 'database', 'embedded', 'telling', 'claiming', 'engines', 'listening')
ROOMS += ('registering', 'keeping', 'operating', 'completing', 'selecting')
# Entry points of a few lines, which only hand on to a room above their own: `python -m edw.heartbeat`, and what step
# scripts import.
DOORS = {'edw.heartbeat', 'edw.transfer'}
DOOR_LINES = 20
MOST_MODULES = 10  # of a package; more, and nobody sees at a glance what is in it


def modules_of(package: str) -> list[Path]:
    """All files of a package, at any depth."""
    return sorted((ROOT / package).rglob('*.py'))


def module_name(file: Path) -> str:
    """The name that a file is imported by."""
    parts = file.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


EDW = {module_name(file): file for file in modules_of('edw')}


@cache
def imports_of(file: Path) -> list[tuple[int, str]]:
    """Line and name of all that a file imports: in functions too, and for the type checker alone."""
    found = []
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.append((node.lineno, alias.name))
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = '.'.join((*above, *filter(None, [node.module])))
            for alias in node.names:
                found.append((node.lineno, f'{origin}.{alias.name}'))
    return found


def packages_of(file: Path) -> set[str]:
    """The first part of the names that a file imports."""
    return {name.split('.')[0] for _, name in imports_of(file)}


def module_among(name: str, known: dict[str, Path]) -> str | None:
    """The module that an import is of: `edw.files.md5_of` is of `edw.files`; None where it is no known one."""
    while name not in known and '.' in name:
        name = name.rpartition('.')[0]
    return name if name in known else None


def room_of(module: str) -> str:
    """The room that a module of edw is in."""
    if EDW[module].name == '__init__.py':
        return module.removeprefix('edw').removeprefix('.')
    return module.removeprefix('edw').rpartition('.')[0].removeprefix('.')


def edw_imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and name of the modules of edw that a file imports."""
    for line, name in imports_of(file):
        module = module_among(name, EDW)
        if module is not None:
            yield line, module


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room_of(module) for module in EDW} == set(ROOMS)


@pytest.mark.parametrize('module', EDW)
def test_a_module_imports_from_its_own_room_and_those_before_it(module: str) -> None:
    if module in DOORS:
        return
    file, place = EDW[module], ROOMS.index(room_of(module))
    wrong = [
        f'{file.relative_to(ROOT)}:{line} imports {other}, of a room above its own'
        for line, other in edw_imports(file)
        if ROOMS.index(room_of(other)) > place
    ]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('room', ROOMS, ids=lambda room: room or 'edw')
def test_no_circle_in_a_room(room: str) -> None:
    inside = {module for module in EDW if room_of(module) == room and module not in DOORS}
    graph = {module: {other for _, other in edw_imports(EDW[module])} & inside - {module} for module in inside}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]
        pytest.fail(f'imports in a circle: {" <- ".join(circle)}')


@pytest.mark.parametrize('module', sorted(DOORS))
def test_a_door_is_only_a_door(module: str) -> None:
    assert len(EDW[module].read_text(encoding='utf-8').splitlines()) <= DOOR_LINES
    users = [file for file in EDW.values() if module in {other for _, other in edw_imports(file)}]
    assert not users, f'{module} is for others, but imported by {users}'


PACKAGES = sorted({file.parent for package in ('edw', 'web', 'detector', 'bench') for file in modules_of(package)})


@pytest.mark.parametrize('package', PACKAGES, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_package_can_be_seen_at_a_glance(package: Path) -> None:
    names = sorted(file.stem for file in package.glob('*.py') if not file.stem.startswith('__'))
    assert len(names) <= MOST_MODULES, f'{len(names)} modules in {package.name}: {", ".join(names)}'


@pytest.mark.parametrize('file', EDW.values(), ids=EDW)
def test_edw_imports_no_script_no_detector_and_nothing_heavy(file: Path) -> None:
    assert not packages_of(file) & (SCRIPTS | HEAVY | {'detector', 'web', 'bench'})


@pytest.mark.parametrize('file', modules_of('detector'), ids=module_name)
def test_detector_imports_no_script_and_nothing_of_edw(file: Path) -> None:
    assert not packages_of(file) & (SCRIPTS | {'edw', 'web', 'bench'})


@pytest.mark.parametrize('file', modules_of('web'), ids=module_name)
def test_web_imports_no_script(file: Path) -> None:
    assert not packages_of(file) & SCRIPTS


def test_listener_imports_nothing_heavy() -> None:
    assert not packages_of(ROOT / 'listener.py') & (HEAVY | {'detector', 'web'})


@pytest.mark.parametrize('file', sorted(ROOT.glob('listen_*.py')), ids=lambda file: file.stem)
def test_stage_scripts_are_thin(file: Path) -> None:
    assert len(file.read_text(encoding='utf-8').splitlines()) < 60
