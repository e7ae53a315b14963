"""ROOT files as others write them, or leave them: right values, or an error that says what is wrong.

What ROOT does was seen of ROOT 6.40: files that it wrote, files of processes with ROOT that were killed, and what its
`hadd` makes of files of this suite. tests/integration/test_hadd.py does the last of these again where ROOT is.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from detector.acquisition import read_header, write_file
from detector.analysis import analyse
from detector.pulses import SAMPLES
from detector.spectrum import read_energies
from detector.traces import DataFileError
from tests.scripts import ROOT

TREES = 'header', 'events', 'noise'
Columns = dict[str, np.ndarray]

# Writes a data file in one process after the other, each of which is killed some writes to the file later than the one
# before, until one comes to its end. Each is left as NUMBER.root in the folder.
KILLED = """
import os, signal, sys
from pathlib import Path
import uproot.sink.file
from detector.acquisition import write_file

# What is imported and computed once is there before the first fork.
write_file(Path(sys.argv[1]) / 'warm', 1, 3)
write = uproot.sink.file.FileSink.write

def write_or_die(self, *arguments):
    global left
    left -= 1
    if not left:
        if self._file is not None:
            self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, *arguments)

uproot.sink.file.FileSink.write = write_or_die
number, status = -1, signal.SIGKILL
while status == signal.SIGKILL:
    number += 4
    child = os.fork()
    if not child:
        left = number
        write_file(Path(sys.argv[1]) / f'{number}.root', 1, 3, {'temperature': 0.0155})
        os._exit(0)
    status = os.waitpid(child, 0)[1]
sys.exit(status)
"""


@pytest.fixture(scope='module')
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('files') / 'x.root'
    write_file(path, 40, 3)
    return path


@pytest.fixture(scope='module')
def trees(data_file: Path) -> dict[str, Columns]:
    with uproot.open(data_file) as file:
        return {tree: file[tree].arrays(library='np') for tree in TREES}


@pytest.fixture(scope='module')
def result(data_file: Path) -> Columns:
    return analysed(data_file)


def analysed(path: Path) -> Columns:
    target = path.with_name('target.amp.root')
    analyse(path, target)
    with uproot.open(target) as file:
        return file['amplitudes'].arrays(library='np')


def write(path: Path, trees: dict[str, Columns], compression: uproot.compression.Compression | None = None) -> Path:
    with uproot.recreate(path, compression=compression) as file:
        for name, columns in trees.items():
            file.mktree(name, {branch: np.dtype((a.dtype, a.shape[1:])) for branch, a in columns.items()})
            if len(next(iter(columns.values()))):
                file[name].extend(columns)
    return path


def add(path: Path, tree: str, columns: dict[str, tuple[object, object]]) -> None:
    """A tree of these branches: the type of each, in uproot's words, and what it holds."""
    with uproot.update(path) if path.exists() else uproot.recreate(path) as file:
        file.mktree(tree, {branch: kind for branch, (kind, _) in columns.items()})
        file[tree].extend({branch: ak.Array(values) for branch, (_, values) in columns.items()})


def typed(columns: Columns) -> dict[str, tuple[object, object]]:
    return {branch: (np.dtype((values.dtype, values.shape[1:])), values) for branch, values in columns.items()}


def same(one: Columns, other: Columns) -> bool:
    return list(one) == list(other) and all(np.array_equal(one[branch], other[branch]) for branch in one)


def fails(path: Path, reason: str, read: Callable[[Path], object] = analysed) -> None:
    with pytest.raises(DataFileError, match=reason) as caught:
        read(path)
    message = str(caught.value)
    assert type(caught.value) is DataFileError
    assert message.startswith(f'{path}: ') and '\n' not in message and len(message) < 400


@pytest.mark.slow
def test_what_a_killed_process_leaves_is_said_to_be_unclosed(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, '-c', KILLED, str(tmp_path)], cwd=ROOT, check=False, timeout=120)
    assert ended.returncode == 0
    *killed, complete = sorted(tmp_path.glob('*.root'), key=lambda path: int(path.stem))
    whole, reasons = analysed(complete), []
    for path in killed:
        try:
            # The very last writes change nothing that is read.
            assert same(analysed(path), whole) and read_header(path).conditions == {'temperature': 0.0155}
        except DataFileError as error:
            reasons.append(str(error).removeprefix(f'{path}: '))
    reasons.remove('not a ROOT file')  # its first bytes come after others
    unclosed = [reason for reason in reasons if reason.startswith('was not closed properly: ')]
    assert {'there is nothing in it', 'its header is empty'} == {reason.partition(': ')[2] for reason in unclosed}
    # From there on, the header itself is being written.
    header = reasons[len(unclosed) :]
    assert reasons[: len(unclosed)] == unclosed and 0 < len(header) < len(unclosed) / 5
    assert all('in its header is not' in reason or 'expected number of entries (1)' in reason for reason in header)


@pytest.mark.parametrize('big', [False, True])
def test_a_file_that_root_has_not_closed_is_not_read(data_file: Path, tmp_path: Path, big: bool) -> None:
    """Of a killed process with ROOT 6.40: fSeekFree is 0, also after AutoSave, which leaves trees that can be read.

    With TTree::AutoSave('SaveSelf') at event 121 of 200 the list of keys was there, and the trees with 121 events.
    Without, fEND was the place behind the name (226 of 990,990 bytes), and there were no keys.
    """
    content = data_file.read_bytes()
    _, version, begin, end = struct.unpack('>4siii', content[:16])
    head = struct.pack('>4siiqq', b'root', version + 1_000_000, begin, end, 0) if big else content[:16] + bytes(4)
    path = tmp_path / 'x.root'
    path.write_bytes(head + content[len(head) :])
    fails(path, 'was not closed properly: whoever wrote it was killed, or still writes to it$')
    fails(path, 'was not closed properly', read_energies)


def test_a_file_may_be_longer_than_it_says(data_file: Path, result: Columns, tmp_path: Path) -> None:
    """As ROOT 6.40 left one, by 186 bytes, that was opened again and from which an object was deleted."""
    path = tmp_path / 'x.root'
    path.write_bytes(data_file.read_bytes() + bytes(186))
    assert same(analysed(path), result)


@pytest.mark.parametrize('name', ['ZLIB', 'LZMA', 'LZ4', 'ZSTD'])
def test_any_compression(trees: dict[str, Columns], result: Columns, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / 'x.root', trees, getattr(uproot, name)(4))
    assert same(analysed(path), result)
    write(tmp_path / 'x.amp.root', {'amplitudes': result}, getattr(uproot, name)(4))
    assert np.array_equal(read_energies(tmp_path / 'x.amp.root')['detector_b'], result['amplitude_b'])


def test_the_newest_cycle_of_a_tree_is_read(trees: dict[str, Columns], result: Columns, tmp_path: Path) -> None:
    """ROOT leaves events;1 and events;2, with fewer events, where it saved the tree on the way."""
    path = write(tmp_path / 'x.root', {**trees, 'events': {name: a[:7] for name, a in trees['events'].items()}})
    with uproot.update(path) as file:
        file.mktree('events', {name: np.dtype((a.dtype, a.shape[1:])) for name, a in trees['events'].items()})
        file['events'].extend(trees['events'])
    with uproot.open(path) as file:
        assert {'events;1', 'events;2'} <= set(file.keys())
    assert same(analysed(path), result)


def test_more_trees_and_branches_do_no_harm(trees: dict[str, Columns], result: Columns, tmp_path: Path) -> None:
    path = tmp_path / 'x.root'
    add(path, 'more', {'x': (np.int32, [1, 2, 3])})
    add(path, 'folder/events', {'event': (np.int32, [1, 2, 3])})
    for name, columns in trees.items():
        entries = len(next(iter(columns.values())))
        hits = 'var * float64', [[1.5] * (i % 3) for i in range(entries)]
        add(path, name, {'hits': hits, **typed(columns), 'word': ('string', ['ab'] * entries)})
    with uproot.update(path) as file:
        file['histogram'] = np.histogram([1.0, 2.0])
    assert same(analysed(path), result)


@pytest.mark.parametrize('kind', ['i1', 'u2', 'i4', 'i8', 'f4', 'f8'])
def test_traces_of_another_type_are_named(trees: dict[str, Columns], tmp_path: Path, kind: str) -> None:
    for tree in ('events', 'noise'):
        other = {**trees, tree: {**trees[tree], 'detector_b': trees[tree]['detector_b'].astype(kind)}}
        path = write(tmp_path / 'x.root', other)
        fails(path, rf"tree '{tree}' has no branch 'detector_b' of {SAMPLES} int16, but one of \w+\[{SAMPLES}\]$")


def test_traces_that_differ_in_length_are_named(trees: dict[str, Columns], tmp_path: Path) -> None:
    path = write(tmp_path / 'x.root', {tree: trees[tree] for tree in ('header', 'noise')})
    traces = 'var * int16', [[1], [2, 3], []]
    add(path, 'events', {'event': (np.int32, [0, 1, 2]), 'detector_a': traces, 'detector_b': traces})
    fails(path, r"no branch 'detector_a' of 1024 int16, but one of int16_t\[\]$")


@pytest.mark.parametrize('kind', ['i1', 'u1', 'i2', 'u4', 'i8', 'u8'])
def test_numbers_of_events_of_any_whole_type(
    trees: dict[str, Columns], result: Columns, tmp_path: Path, kind: str
) -> None:
    events = {**trees['events'], 'event': trees['events']['event'].astype(kind)}
    assert same(analysed(write(tmp_path / 'x.root', {**trees, 'events': events})), result)


@pytest.mark.parametrize('number', [2**31, -(2**31) - 1, 2**40])
def test_numbers_of_events_that_the_result_cannot_hold(trees: dict[str, Columns], tmp_path: Path, number: int) -> None:
    numbers = trees['events']['event'].astype('i8')
    numbers[-1] = number
    path = write(tmp_path / 'x.root', {**trees, 'events': {**trees['events'], 'event': numbers}})
    fails(path, f'{number}.* are no int32$')


@pytest.mark.parametrize(
    ('kind', 'values'),
    [
        ('float64', np.arange(40.0)),
        (np.dtype((np.int32, (2,))), np.zeros((40, 2), np.int32)),
        ('var * int32', [[1]] * 39 + [[]]),
        ('string', ['a'] * 40),
    ],
)
def test_what_numbers_no_events(trees: dict[str, Columns], tmp_path: Path, kind: object, values: object) -> None:
    path = write(tmp_path / 'x.root', {tree: trees[tree] for tree in ('header', 'noise')})
    add(path, 'events', {**typed(trees['events']), 'event': (kind, values)})
    fails(path, "tree 'events' has no branch 'event' of whole numbers, but one of ")


@pytest.mark.parametrize(
    ('kind', 'values'),
    [
        ('float64', [np.nan]),
        ('int32', [1000]),
        ('int32', [1024, 1024]),
        ('var * int32', [[1024]]),
        ('var * int32', [[1024, 0]]),
        ('string', ['1024']),
        (np.dtype((np.int32, (2,))), np.full((1, 2), 1024, np.int32)),
    ],
)
def test_odd_headers(trees: dict[str, Columns], tmp_path: Path, kind: object, values: list[object]) -> None:
    path = write(tmp_path / 'x.root', {tree: trees[tree] for tree in ('events', 'noise')})
    others = {'sampling_hz': ('float64', [1000.0] * len(values)), 'pretrigger': ('int32', [256] * len(values))}
    add(path, 'header', {**others, 'samples': (kind, values)})
    fails(path, '2 data files in one: analyse them before' if len(values) > 1 else 'samples in its header is not 1024$')


def test_a_header_of_floats_as_a_tntuple_has_it(trees: dict[str, Columns], result: Columns, tmp_path: Path) -> None:
    header = {name: values.astype('f4') for name, values in trees['header'].items()}
    assert same(analysed(write(tmp_path / 'x.root', {**trees, 'header': header})), result)


@pytest.mark.parametrize('tree', TREES)
def test_what_stands_in_the_place_of_a_tree_is_named(trees: dict[str, Columns], tmp_path: Path, tree: str) -> None:
    path = write(tmp_path / 'x.root', {name: columns for name, columns in trees.items() if name != tree})
    with uproot.update(path) as file:
        file.mkdir(tree)
    fails(path, f"not a data file, it has no tree '{tree}', but a TDirectory of this name$")
    path.unlink()
    write(path, {name: columns for name, columns in trees.items() if name != tree})
    with uproot.update(path) as file:
        file.mkrntuple(tree, {'x': 'int32'})
    fails(path, f"not a data file, it has no tree '{tree}', but a ROOT::RNTuple of this name$")


@pytest.mark.parametrize(
    ('kind', 'values'),
    [
        ('var * float64', [[1.5], []]),
        ('string', ['a', 'b']),
        (np.dtype((float, (3,))), np.zeros((2, 3))),
        ('bool', [True, False]),
    ],
)
def test_amplitudes_that_are_no_numbers(tmp_path: Path, kind: object, values: object) -> None:
    path = tmp_path / 'x.amp.root'
    add(path, 'amplitudes', {'amplitude_a': ('float64', [1.0, 2.0]), 'amplitude_b': (kind, values)})
    fails(path, "tree 'amplitudes' has no branch 'amplitude_b' of numbers, but one of ", read_energies)


@pytest.mark.parametrize('kind', ['f4', 'f8', 'i4', 'u2'])
def test_amplitudes_of_any_number_type(tmp_path: Path, kind: str) -> None:
    """A TNtuple holds float32."""
    values = np.array([10.5, 20.25]).astype(kind)
    path = write(tmp_path / 'x.amp.root', {'amplitudes': {'amplitude_a': values, 'amplitude_b': values}})
    assert read_energies(path)['detector_a'].tolist() == values.tolist()


# What `TTree(name, '')` of ROOT 6.40 with Branch('event', …, 'event/I'), 'amplitude_a/D' and 'detector_a[1024]/S' has,
# after Fill() and Write() into a file without compression, as uproot 5.7 reads it. Left out is what depends on the
# number of entries, on places in the file, or on the memory of the writer (fBits).
ROOTS_TREE = {
    'fDefaultEntryOffsetLen': 1000,
    'fNClusterRange': 0,
    'fAutoFlush': -30_000_000,
    'fAutoSave': -300_000_000,
    'fMaxEntries': 10**12,
    'fMaxVirtualSize': 0,
    'fTimerInterval': 0,
    'fUpdate': 0,
    'fWeight': 1.0,
    'fSavedBytes': 0,
    'fFlushedBytes': 0,
    'fEstimate': 1_000_000,
}
ROOTS_BRANCH = {
    'fCompress': 0,
    'fBasketSize': 32_000,
    'fEntryOffsetLen': 0,
    'fOffset': 0,
    'fSplitLevel': 0,
    'fFirstEntry': 0,
}
ROOTS_LEAF = {'fOffset': 0, 'fIsRange': False, 'fIsUnsigned': False, 'fLeafCount': None, 'fMinimum': 0, 'fMaximum': 0}
ROOTS_LEAFS = {
    'I': {'fLen': 1, 'fLenType': 4},
    'D': {'fLen': 1, 'fLenType': 8},
    'S': {'fLen': 1024, 'fLenType': 2},
}


def test_branches_are_described_as_root_does(data_file: Path) -> None:
    """hadd copies baskets by this description.

    What it breaks are files with an empty tree before others (uproot5 756) and arrays of varying length (uproot5 1490):
    there are neither.
    """
    analyse(data_file, data_file.with_name('x.amp.root'))
    for path in (data_file, data_file.with_name('x.amp.root')):
        with uproot.open(path) as file:
            trees = [file[key] for key in file.keys(filter_classname='TTree')]
            assert trees
            for tree in trees:
                check_tree(tree)


def check_tree(tree: uproot.TTree) -> None:
    assert {name: tree.member(name) for name in ROOTS_TREE} == ROOTS_TREE
    assert tree.num_entries > 0
    for branch in tree.branches:
        (leaf,) = branch.member('fLeaves')
        kind = branch.title[-1]
        array = '[1024]' if kind == 'S' else ''
        assert (branch.title, leaf.member('fTitle')) == (f'{branch.name}{array}/{kind}', f'{branch.name}{array}')
        assert type(leaf).__name__.startswith(f'Model_TLeaf{kind}_')
        assert {name: branch.member(name) for name in ROOTS_BRANCH} == ROOTS_BRANCH
        expected = {**ROOTS_LEAF, **ROOTS_LEAFS[kind]}
        assert {name: leaf.member(name) for name in expected} == expected
        assert branch.member('fEntries') == branch.member('fEntryNumber') == tree.num_entries
        # One more place than baskets, where the next one would begin.
        baskets = branch.member('fWriteBasket')
        assert baskets == branch.num_baskets < branch.member('fMaxBaskets')
        entries = branch.member('fBasketEntry')
        assert entries[0] == 0 and np.all(np.diff(entries[: baskets + 1]) > 0) and entries[baskets] == tree.num_entries
