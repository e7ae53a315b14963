from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edw import config
from edw.completing.files_of_run import output_of
from edw.errors import LoginRefused
from edw.keeping.forecast import Disk
from edw.operating.status import RunStatus, Status, StepStatus
from web import access, charts, live, render
from web.blocking import Databases
from web.spectra import STEP

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(ANY_JSON)
def test_pretty_json_is_the_same_json(value: Any) -> None:
    assert json.loads(render.pretty_json(value)) == value


def test_long_json_is_cut_and_says_so() -> None:
    text = render.pretty_json(['x' * render.LONGEST_JSON])
    assert len(text) < render.LONGEST_JSON + 50
    assert text.endswith('more characters')


@given(ANY_JSON)
def test_what_is_no_time_is_shown_as_it_stands_and_escaped(value: Any) -> None:
    assert '<script' not in render.moment(value)
    render.since(value)


def test_text_of_documents_is_escaped_where_it_stands_for_a_time() -> None:
    assert render.moment('<b>') == '&lt;b&gt;'


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (None, ''),
        (-3, '0 s'),
        (0.0044, '0.0044 s'),
        (7, '7 s'),
        (119, '119 s'),
        (120, '2 min'),
        (7200, '2 h'),
        (2e5, '2 d'),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert render.duration(seconds) == text


def test_addresses_take_any_text_apart_only_where_it_was_put_together() -> None:
    assert render.address('/document', id='a/b?c#d&e=f g') == '/document?id=a%2Fb%3Fc%23d%26e%3Df+g'
    assert render.address('/document', id='..') == '/document?id=..'
    assert render.address('/failures', step=None, kind='x') == '/failures?kind=x'
    render.address('/document', id='\ud800')


def test_the_plot_counts_every_document_of_its_hours_and_stays_in_its_box() -> None:
    now = 1_800_000_123.0
    minutes = [(60 * math.floor((now - 60 * ago) / 60), 1 + ago % 3) for ago in range(60 * charts.HOURS - 20)]
    before = (now - 3600 * charts.HOURS - 700, 99)
    plot = charts.plot({'a': [before, *minutes], 'b': []}, ['a', 'b', 'c'], now)
    assert [panel.step for panel in plot.panels] == ['a', 'b', 'c']
    assert plot.panels[0].total == sum(count for _, count in minutes)
    assert plot.panels[1].bars == [] == plot.panels[2].bars
    for panel in plot.panels:
        for bar in panel.bars:
            assert 0 <= bar.x <= bar.x + bar.width <= 100
            assert bar.y >= 0
            assert bar.y + bar.height == pytest.approx(plot.height, abs=0.02)
    assert len(plot.ticks) >= charts.HOURS // charts.TICK_HOURS
    assert all(0 <= x <= 100 for x, _ in plot.ticks)


def test_a_plot_of_nothing() -> None:
    assert charts.plot({}, [], 0.0).panels == []


@given(st.integers(0, 10**9))
def test_the_highest_tick_is_a_little_above_the_highest_bar(count: int) -> None:
    plot = charts.plot({'a': [(0.0, count)]}, ['a'], 0.0)
    assert count <= plot.highest <= max(2, 1.51 * count)


def test_the_parts_of_a_run_fill_its_bar() -> None:
    run = RunStatus('r', 10, {'new': 1, 'one': 2, 'two': 4, 'failed two': 2, 'acquiring': 1}, 2)
    parts = charts.segments(run, ['one', 'two'])
    assert [(part.state, part.kind) for part in parts] == [
        ('two', 'done'),
        ('one', 'part'),
        ('new', 'new'),
        ('acquiring', 'other'),
        ('failed two', 'bad'),
    ]
    assert sum(part.width for part in parts) == pytest.approx(100)
    assert parts[2].start == pytest.approx(60)


def test_a_run_whose_files_are_through_is_done_though_steps_of_runs_follow() -> None:
    places = {'one': 0, 'two': 'one', 'run_summary': 'run_complete', 'archive': 'run_summary'}
    steps = [StepStatus(name, after, 0, None, 0, None, 0, 9, 0) for name, after in places.items()]
    assert charts.file_steps(steps) == ['one', 'two']
    parts = charts.segments(RunStatus('r', 3, {'one': 1, 'two': 2}, 0), charts.file_steps(steps))
    assert [(part.state, part.kind) for part in parts] == [('two', 'done'), ('one', 'part')]


def test_many_runs_are_counted_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([3000, 3001, 3002])
    clock = [0.0]
    monkeypatch.setattr(live, 'time', SimpleNamespace(monotonic=lambda: clock[0]))

    def count_runs(database: object) -> int:
        clock[0] += 0.25
        return next(counts)

    monkeypatch.setattr(live.status, 'count_runs', count_runs)
    run_count = live.RunCount()
    assert [run_count(None), run_count(None)] == [3000, 3000]
    clock[0] += 0.25 * live.COUNT_REST
    assert run_count(None) == 3001


def test_wrong_passwords_make_their_address_wait_and_no_other() -> None:
    keeper = access.Access('right')
    for _ in range(access.ATTEMPTS):
        assert not keeper.must_wait('one')
        assert keeper.log_in('one', 'wrong') is None
    assert keeper.must_wait('one')
    assert not keeper.must_wait('other')


def test_a_login_holds_until_it_is_ended() -> None:
    keeper = access.Access('pässword')
    login = keeper.log_in('one', 'pässword')
    assert keeper.holds(login)
    assert not keeper.holds('made up') and not keeper.holds(None)
    keeper.log_out(login)
    assert not keeper.holds(login)


def test_a_refused_login_is_not_tried_again() -> None:
    databases = Databases(config.load())
    with pytest.raises(LoginRefused), databases.lent():
        raise LoginRefused('refused')
    with pytest.raises(LoginRefused, match='not tried again'), databases.lent():
        pytest.fail('a database was lent')


def test_a_database_is_lent_to_one_at_a_time_and_lent_again() -> None:
    databases = Databases(config.load())
    with databases.lent() as one, databases.lent() as other:
        assert one is not other
    with databases.lent() as again:
        assert again in (one, other)


@given(ANY_JSON)
def test_the_file_of_amplitudes_of_any_document(value: Any) -> None:
    assert output_of({'process': value}, STEP) is None


def test_the_file_of_amplitudes_is_that_of_the_last_analysis() -> None:
    entries = [{'name': 'signal_processing', 'file': file} for file in ('/old', '/new')]
    assert output_of({'process': [*entries, {'name': 'other', 'file': '/x'}]}, STEP) == '/new'


def test_disks_that_fill_are_marked() -> None:
    disks = [
        Disk({'raw': '/raw', 'sps': '/sps'}, 3 * 10**9, 10**12, 1e9, 3.0),
        Disk({'scratch': '/tmp'}, 10**10, 10**11, None, None),
    ]
    status = Status(1.0, 0, 0, [], [], [], {}, [], [], disks=disks)
    reading = SimpleNamespace(status=status, plot=charts.plot({}, [], 1.0), runs=[], run_count=0)
    text = render.html('live.html', reading=reading, error=None, now=1.0, lease=1.0)
    assert 'raw, sps' in text and '3 GB of 1 TB free' in text and 'full in 3 d, at 1 GB a day' in text
    assert text.count('make room') == 1 and '10 GB of 100 GB free' in text
