"""plot_spectrum.py, on the run of a simulated acquisition and on files; as a process where it draws a run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from PIL import Image

from detector.acquisition import write_file
from detector.analysis import analyse
from detector.runs.summary import summarise
from edw.database.client import Database
from tests.scripts import ANALYSIS, Scripts


@pytest.fixture(scope='module')
def analysed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two analysed files."""
    folder = tmp_path_factory.mktemp('sps')
    for index in range(2):
        source = folder / f'ma22a000_00{index}.root'
        write_file(source, 600, index)
        analyse(source, source.with_suffix('.amp.root'))
    return sorted(folder.glob('*.amp.root'))


def document(database: Database, doc_id: str, *entries: dict[str, str]) -> None:
    database.put({'_id': doc_id, 'run': doc_id.partition('_')[0], 'status': 'good', 'process': list(entries)})


def done_on(file: Path) -> dict[str, str]:
    return {'name': 'signal_processing', 'file': str(file)}


def is_png(file: Path) -> bool:
    with Image.open(file) as image:
        image.load()
        return image.format == 'PNG' and image.width >= 900


def is_pdf(file: Path) -> bool:
    content = file.read_bytes()
    return content.startswith(b'%PDF-') and content.rstrip().endswith(b'%%EOF') and b'/Type /Page ' in content


def test_the_whole_way_from_acquisition_to_the_picture(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    assert scripts.call('make_metadata.py', '2', '--events', '600', '--seed', '1').returncode == 0
    done = scripts.call('plot_spectrum.py', 'ma22a000')
    assert done.returncode == 1
    assert done.stderr == 'error: signal_processing has not been done yet on any of the 2 documents of run ma22a000\n'
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    assert scripts.call(*ANALYSIS).returncode == 0
    picture = tmp_path / 'ma22a000.spectrum.png'
    picture.write_text('an older one')
    done = scripts.run('plot_spectrum.py', 'ma22a000', cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == '' and is_png(picture)
    assert 'detector_a: 1200 events' in done.stdout and 'detector_b: 1200 events' in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith('     356.013'))
    energy, position, _, error, fwhm, _, fwhm_error, counts, _, _ = line.split()
    assert abs(float(position) - float(energy)) < 4 * float(error) + 0.001
    assert 0.5 < float(fwhm) < 1.5 and 0 < float(fwhm_error) < 0.3 and int(counts) > 50
    assert not list(tmp_path.glob('.*'))


def test_files_of_a_run_that_are_missing_or_damaged_are_left_out(
    scripts: Scripts, database: Database, analysed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = {'name': 'move_to_sps', 'file': '/moved.root'}
    monkeypatch.chdir(tmp_path)
    damaged = tmp_path / 'damaged.amp.root'
    damaged.write_bytes(analysed[1].read_bytes()[:5000])
    document(database, 'r_0', moved, done_on(Path('/no/older.amp.root')), done_on(analysed[0]), {'name': 'later'})
    document(database, 'r_1', moved, done_on(Path('/no/such.amp.root')))
    document(database, 'r_2', moved, done_on(damaged))
    document(database, 'r_3', moved)
    document(database, 'r_4', moved, done_on(analysed[0]))  # the same once more
    document(database, 'rr_0', moved, done_on(analysed[1]))
    database.put({'_id': 'r_5', 'run': 'r', 'process': 'nonsense'})
    done = scripts.call('plot_spectrum.py', 'r', '-o', str(tmp_path / 'x.PDF'))
    assert done.returncode == 0 and is_pdf(tmp_path / 'x.PDF')
    warnings = done.stderr.splitlines()
    assert len(warnings) == 2 and all(line.startswith('warning: left out: ') for line in warnings)
    assert '/no/such.amp.root: No such file' in warnings[0] and str(damaged) in warnings[1]
    assert 'detector_a: 600 events' in done.stdout and done.stdout.endswith('x.PDF: 1 file\n')
    done = scripts.call('plot_spectrum.py', 'none')
    assert done.returncode == 1 and "no documents of a run 'none'" in done.stderr
    document(database, 's_0', done_on(damaged))
    done = scripts.call('plot_spectrum.py', 's')
    assert done.returncode == 1 and 'none of the 1 analysed files can be read' in done.stderr
    assert sorted(file.name for file in tmp_path.iterdir() if file.suffix != '.ini') == ['damaged.amp.root', 'x.PDF']


def test_files_need_no_database(
    scripts: Scripts, analysed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scripts.config.unlink()
    # The first one twice, and once by another name of its folder.
    names = [*map(str, analysed), str(analysed[0]), f'{analysed[0].parent}/./{analysed[0].name}']
    done = scripts.call('plot_spectrum.py', *names)
    assert done.returncode == 0 and 'detector_a: 1200 events' in done.stdout
    assert is_png(tmp_path / 'ma22a000_000.spectrum.png')
    done = scripts.call('plot_spectrum.py', str(analysed[0]), '-o', '/no/such/folder/x.png')
    assert done.returncode == 1 and done.stdout == ''  # nothing was fitted for it
    assert '/no/such/folder/x.png cannot be written: there is no folder /no/such/folder' in done.stderr
    raw = analysed[0].with_name('ma22a000_000.root')
    done = scripts.call('plot_spectrum.py', str(analysed[0]), str(raw))
    assert done.returncode == 1 and f'{raw}: not a file of amplitudes' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_events_are_not_counted_twice(
    scripts: Scripts, analysed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sps = tmp_path / 'sps'
    sps.mkdir()
    for file in analysed:
        (sps / file.name).write_bytes(file.read_bytes())
    again = sps / 'ma22a000_001.2.amp.root'
    again.write_bytes(analysed[1].read_bytes())
    done = scripts.call('plot_spectrum.py', *map(str, sorted(sps.glob('*.amp.root'))))
    assert done.returncode == 1 and done.stderr.count('\n') == 2, done.stderr
    assert f'{again} and {sps}/ma22a000_001.amp.root: passes of one document, ma22a000_001' in done.stderr
    assert 'python list_files.py --step signal_processing --paths -0 | xargs -0 python plot_spectrum.py' in done.stderr
    again.unlink()
    # One of the files has failed, and is not in the summary.
    summarise(
        {'ma22a000_001': lambda: nullcontext(analysed[1].with_name('ma22a000_001.root'))}, sps / 'ma22a000.amp.root'
    )
    done = scripts.call('plot_spectrum.py', *map(str, sorted(sps.glob('*.amp.root'))))
    assert done.returncode == 1 and 'list_files.py' in done.stderr
    assert f'{sps}/ma22a000.amp.root: the summary of a run, which has the events of {sps}/ma22a000_001' in done.stderr
    beside = str(sps / 'ma22a000.amp.root'), str(sps / 'ma22a000_000.amp.root')
    done = scripts.call('plot_spectrum.py', *beside)
    assert done.returncode == 0 and 'detector_a: 1200 events' in done.stdout
    assert [file.name for file in tmp_path.glob('*.png')] == ['ma22a000.spectrum.png']


def test_unknown_ending(scripts: Scripts, tmp_path: Path) -> None:
    done = scripts.call('plot_spectrum.py', 'x.amp.root', '-o', str(tmp_path / 'x.gif'))
    assert done.returncode == 2 and '.png, .pdf' in done.stderr and not (tmp_path / 'x.gif').exists()
