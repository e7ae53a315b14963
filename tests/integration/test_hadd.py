"""ROOT itself on files of this suite, and this suite on what ROOT makes of them.

ROOT is in no Debian package. The package `root` of requirements-long.txt has its programs in ROOT/bin.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import uproot

from detector.acquisition import read_header, write_file
from detector.analysis import analyse
from detector.spectrum import read_energies
from detector.traces import DataFileError

COMPRESSIONS = {'none': '0', 'zlib': '101', 'lzma': '207', 'lz4': '404', 'zstd': '505'}


@pytest.fixture(scope='module')
def hadd() -> str:
    package = importlib.util.find_spec('ROOT')
    folders = [f'{folder}/bin' for folder in (package and package.submodule_search_locations) or ()]
    found = shutil.which('hadd', path=os.pathsep.join([os.environ.get('PATH', os.defpath), *folders]))
    if found is None:
        pytest.skip('hadd of ROOT is not here; make test-long installs it on Linux (requirements-long.txt)')
    return found


def merge(hadd: str, target: Path, *sources: Path, compression: str = 'zlib') -> None:
    command = [hadd, f'-f{COMPRESSIONS[compression]}', str(target), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0 and 'Error' not in done.stdout + done.stderr, done.stdout + done.stderr


def trees(path: Path) -> dict[str, dict[str, np.ndarray]]:
    with uproot.open(path) as file:
        return {key: file[key].arrays(library='np') for key in file.keys(filter_classname='TTree', cycle=False)}


def test_files_that_hadd_merged_hold_what_was_in_each(hadd: str, tmp_path: Path) -> None:
    sources = [tmp_path / f'{index}.root' for index in range(4)]
    # One event, and as many as need more than one basket.
    for seed, (source, events) in enumerate(zip(sources, (1, 600, 30, 1), strict=True)):
        write_file(source, events, seed)
        analyse(source, source.with_suffix('.amp.root'))
    analysed = [source.with_suffix('.amp.root') for source in sources]
    for files in (sources, analysed):
        merge(hadd, tmp_path / 'first', *files[:3])
        merge(hadd, tmp_path / 'merged', tmp_path / 'first', files[3])
        merged, parts = trees(tmp_path / 'merged'), [trees(file) for file in files]
        assert merged.keys() == parts[0].keys()
        for tree, columns in merged.items():
            for branch, values in columns.items():
                assert np.array_equal(values, np.concatenate([part[tree][branch] for part in parts])), (tree, branch)
    energies = read_energies(tmp_path / 'merged')
    for detector, values in energies.items():
        assert values.size == 632
        assert np.array_equal(values, np.concatenate([read_energies(file)[detector] for file in analysed]))
    with pytest.raises(DataFileError, match='3 data files in one'):
        merge(hadd, tmp_path / 'merged', *sources[:3])
        analyse(tmp_path / 'merged', tmp_path / 'target')


@pytest.mark.parametrize('compression', COMPRESSIONS)
def test_a_file_that_root_wrote_is_analysed_as_ours(hadd: str, tmp_path: Path, compression: str) -> None:
    source, target, root = tmp_path / 'x.root', tmp_path / 'x.amp.root', tmp_path / 'root.root'
    write_file(source, 30, 3, {'temperature': 0.0155})
    merge(hadd, root, source, compression=compression)
    analyse(source, target)
    expected = trees(target)['amplitudes']
    analyse(root, target)
    found = trees(target)['amplitudes']
    assert all(np.array_equal(found[branch], expected[branch]) for branch in expected)
    assert read_header(root).conditions == {'temperature': 0.0155}
