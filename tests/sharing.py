"""How pytest-xdist shares the tests out to its processes: one by one, but for those that belong together.

Its own `--dist loadgroup` does the same by marks. But with pytest 9.2 it silently does not (pytest-xdist 1386), and it
changes the names of the tests, by which they are run again.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

# The tests of a group run in one process, one after the other. Those of the first measure time, or keep the whole
# machine busy: they must not run beside each other. The others have fixtures that take long to make, or import
# what does, and that is done once.
GROUPS = {
    'time': (
        'tests/chaos/',
        'tests/acceptance/test_recovery.py',
        'tests/acceptance/test_timeout.py',
        'tests/integration/test_listener.py',
    ),
    'browser': ('tests/browser/',),
    'pictures': (
        'tests/acceptance/test_plot_spectrum.py',
        'tests/integration/test_run_summary.py',
        'tests/integration/test_spectrum_plot.py',
    ),
    'embedded server': ('tests/integration/test_local_couchdb.py',),
    'analysed files': ('tests/integration/test_detector_analysis.py',),
    'spectra': ('tests/unit/test_detector_spectrum.py::test_uncertainties',),
}


# What takes long for what it shows, or needs a large package: odd values of every option of every script, storage of
# other machines, clocks that are set, ROOT; and the scripts of 2013, which wait for the next change when they lose a
# race. `make test` leaves it out; `make test-long` runs it, before a release and after changes to what it is about.
LONG = (
    'tests/farm/',
    'tests/acceptance/test_clock.py',
    'tests/acceptance/test_night.py',
    'tests/acceptance/test_odd_arguments.py',
    'tests/acceptance/test_odd_documents.py',
    'tests/acceptance/test_original_scripts.py',
    'tests/acceptance/test_streams.py',
    'tests/acceptance/test_tour.py',
    'tests/integration/test_hadd.py',
    'tests/integration/test_remote_storage.py',
    'tests/integration/test_sftp_storage.py',
)


def is_long(nodeid: str) -> bool:
    """Whether a test is left out of `make test`."""
    return nodeid.startswith(LONG)


class Sharing(LoadScopeScheduling):
    """Hands out groups as a whole, the largest first, and then single tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid


def group_of(nodeid: str) -> str | None:
    """The group that a test is in; None where it stands alone."""
    return next((name for name, beginnings in GROUPS.items() if nodeid.startswith(beginnings)), None)
