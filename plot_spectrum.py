#!/usr/bin/env python3
"""Draw the energy spectrum of a run, or of analysed files, and print its fitted lines.

plot_spectrum.py ma22a000              all files of the run that have been analysed, as ma22a000.spectrum.png
plot_spectrum.py FILE... -o x.pdf      these files together, NAME.amp.root

Several passes of one document, and the summary of a run beside its files, are refused: events would count twice. What
is current: list_files.py --step signal_processing --paths -0 | xargs -0 python plot_spectrum.py -o x.pdf
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from detector import spectrum
from detector.pulses import FloatArray
from detector.spectrum import Spectrum
from detector.traces import DataFileError
from edw import cli, config, files
from edw.completing.files_of_run import outputs_of_run
from edw.database.client import Database
from edw.errors import EdwError, StepError
from edw.redact import redact
from edw.transfer import is_url, local_copy

STEP = 'signal_processing'  # whose files are drawn
ENDINGS = '.png', '.pdf'
DOTS_PER_INCH = 150  # of a PNG
PASS = re.compile(r'(?P<doc>[^.]+)(\.\d+)?\.amp\.root')  # as `target_in` calls the files of a document
CURRENT = f'python list_files.py --step {STEP} --paths -0 | xargs -0 python plot_spectrum.py -o OUT'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = cli.parser(__doc__)
    parser.add_argument('names', nargs='+', metavar='RUN|FILE', help='runs, or files NAME.amp.root')
    parser.add_argument(
        '-o', dest='output', type=Path, metavar='OUT', help='OUT.png or OUT.pdf (default: NAME.spectrum.png)'
    )
    arguments = parser.parse_args(argv)
    name = PurePosixPath(arguments.names[0]).name.removesuffix('.root').removesuffix('.amp')
    output: Path = arguments.output or Path(f'{name}.spectrum.png')
    if output.suffix.lower() not in ENDINGS:
        parser.error(f'{output}: the ending must be one of {", ".join(ENDINGS)}')
    if not output.parent.is_dir():  # before anything is read and fitted
        raise EdwError(f'{output} cannot be written: there is no folder {output.parent}')
    settings = None  # files need none
    locations: dict[str, bool] = {}  # whether each may be left out
    for named in arguments.names:
        if named.endswith('.root') or '/' in named or os.path.isfile(named):
            locations[named if is_url(named) else os.path.realpath(named)] = False
        else:
            settings = settings or config.load(arguments.config)
            for location in outputs_of_run(Database(settings), named, STEP):
                locations.setdefault(location, True)
    documents = _documents(locations)
    with config.using(settings) if settings else nullcontext():
        energies = _read(locations, documents)
    spectra = spectrum.spectra(energies)
    for each in spectra:
        print(_table(each))
    more = f' and {len(arguments.names) - 1} more' if len(arguments.names) > 1 else ''
    count = f'{len(energies)} file{"s" * (len(energies) != 1)}'
    _write(spectra, f'{name}{more}: {count}', output)
    print(f'wrote {output}: {count}')
    return 0


def _documents(locations: Iterable[str]) -> dict[tuple[str, str], str]:
    """Each file by its folder and the id of its document, as names tell. Raises EdwError for two passes of one."""
    files: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for location in locations:
        folder, _, name = location.rpartition('/')
        if match := PASS.fullmatch(name):
            files[folder, unquote(match['doc'])].append(location)
    for (_, doc_id), passes in files.items():
        if len(passes) > 1:
            raise EdwError(
                f'{" and ".join(passes)}: passes of one document, {doc_id}, whose events would count twice.\n'
                f'What is current: {CURRENT}'
            )
    return {document: location for document, (location,) in files.items()}


def _read(locations: dict[str, bool], documents: dict[tuple[str, str], str]) -> list[dict[str, FloatArray]]:
    """The energies in each file; those that may be left out are, with a warning, where they cannot be read.

    Raises EdwError for the summary of a run whose files are there, too.
    """
    energies = []
    for location, may_be_left_out in locations.items():
        try:
            with local_copy(location) as path:
                energies.append(spectrum.read_energies(path))
                within = spectrum.files_in(path)
        except (DataFileError, StepError) as error:
            if not may_be_left_out:
                raise EdwError(str(error)) from None
            print(redact(f'warning: left out: {error}'), file=sys.stderr)
            continue
        folder = location.rpartition('/')[0]
        if beside := [documents[folder, doc_id] for doc_id in within if (folder, doc_id) in documents]:
            more = f' and {len(beside) - 1} more' if len(beside) > 1 else ''
            raise EdwError(
                f'{location}: the summary of a run, which has the events of {beside[0]}{more}, too.\n'
                f'Without summaries: {CURRENT}'
            )
    if not energies:
        raise EdwError(f'none of the {len(locations)} analysed files can be read here')
    return energies


def _table(found: Spectrum) -> str:
    """The fitted lines of a detector, for people."""
    rows = [f'{found.detector}: {found.events} events']
    fitted = {energy: line for energy, line in found.lines.items() if line is not None}
    if fitted:
        rows.append(f'{"line (keV)":>12}{"position (keV)":>20}{"FWHM (keV)":>18}{"counts":>16}')
    for energy, line in fitted.items():
        position = f'{line.position:.3f} ± {line.position_uncertainty:.3f}'
        fwhm = f'{line.fwhm:.3f} ± {line.fwhm_uncertainty:.3f}'
        counts = f'{line.events:.0f} ± {line.events_uncertainty:.0f}'
        rows.append(f'{energy:>12.3f}{position:>20}{fwhm:>18}{counts:>16}')
    return '\n'.join(rows if fitted else [*rows, '    too few events in any line for a fit'])


def _write(spectra: list[Spectrum], title: str, output: Path) -> None:
    # Imported here: Matplotlib takes half of the start, and what is wrong with runs and files is told without it.
    from detector.spectrum_plot import figure

    try:
        with files.replacing(output) as temporary:
            figure(spectra, title).savefig(temporary, format=output.suffix[1:].lower(), dpi=DOTS_PER_INCH)
    except OSError as error:
        raise EdwError(f'{output} cannot be written: {error.strerror or error}') from None


if __name__ == '__main__':
    sys.exit(cli.ending(main))
