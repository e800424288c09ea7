"""What people see without Grafana: figures, history, plots and the page."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from fastsmtp.blocks import CELLS, PULSE, QUEUE, SMTP, STORE
from fastsmtp.cli import top
from fastsmtp.glance import page, plots
from fastsmtp.glance.figures import Figures, between, figures, quantile, refusing
from fastsmtp.glance.history import HOURS, PAUSE, History
from fastsmtp.live import AGES, STATES_OF_QUEUE
from fastsmtp.pages import Pages
from fastsmtp.pulse import CPU
from fastsmtp.queue import counts as queue
from fastsmtp.queue.listing import Depth
from fastsmtp.smtp import counts as smtp
from fastsmtp.store import counts as store

HOP = "<script>.test"


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages.create(tmp_path / "cells", CELLS, 4)


def seen(pages: Pages, at: float, **more: Any) -> Figures:
    """Three deferred messages: two young, one of 50 minutes; one on hold."""
    deferred, hold = Depth(), Depth()
    deferred.count(minute=100, messages=1, octets=300, now=150 * 60_000)
    deferred.count(minute=150, messages=2, octets=20, now=150 * 60_000)
    hold.count(minute=150, messages=1, octets=7, now=150 * 60_000)
    found = figures(
        pages, lambda: {"deferred": deferred, "hold": hold}, lambda: [(HOP, 3)]
    )
    return found._replace(at=at, **more)


def busy(pages: Pages) -> None:
    cells = pages.claim(1, "receive", 1)
    mine = SMTP["smtp"].of(cells)
    mine[smtp.MESSAGES.place("accepted")] += 20
    mine[smtp.REJECTS.place("rcpt", "relay", "5")] += 4
    SMTP["submission"].of(cells)[smtp.REJECTS.place("rcpt", "relay", "5")] += 2
    for _ in range(10):
        smtp.ACCEPT.observe(mine, 0.002)
        store.LOG_SYNC.observe(STORE.of(cells), 0.0004)
    STORE.of(cells)[store.Count.UNAPPLIED_MESSAGES] = 5
    QUEUE.of(cells)[queue.ENQUEUED] = 8
    PULSE.of(cells)[CPU.place("receive")] = 2_000_000


def test_the_figures_of_a_moment(pages: Pages) -> None:
    busy(pages)
    pages.tell(1, "serving")
    pages.excuse(1, "the disk is nearly full")
    now = seen(pages, 1000)
    assert now.states == dict(
        zip(STATES_OF_QUEUE, (5, 0, 3, 1, 0), strict=True)  # incoming … scheduled
    )
    assert now.waiting == 9
    assert now.octets["deferred"] == 320
    assert {age: n for age, n in now.ages.items() if n} == {"1m": 3, "1h": 1}
    assert list(now.ages) == list(AGES)
    assert now.oldest == 6000
    assert now.results["accepted"] == 20
    assert now.refusals == {"relay rcpt 5xx": 6}
    assert now.destinations == [(HOP, 3)]
    (worker,) = now.workers
    assert worker[:4] == ("receive", 1, worker.pid, "serving")
    assert (worker.cpu, worker.accepted) == (2.0, 20)
    assert worker.trouble == "the disk is nearly full"


def test_a_store_that_cannot_be_read_leaves_the_rest(pages: Pages) -> None:
    now = figures(pages, lambda: None)
    assert now.waiting == now.oldest == 0


def test_two_moments_make_rates(pages: Pages) -> None:
    old = seen(pages, 1000)
    busy(pages)
    new = seen(pages, 1010)
    rates = between(old, new)
    assert (rates.accepted, rates.refused) == (2.0, 0.6)
    assert (rates.queued, rates.left) == (0.8, 0.0)
    assert 0.001 < rates.accept_p50 < rates.accept_p99 <= 0.0025
    assert 0.00025 < rates.flush_p99 <= 0.0005
    assert refusing(old, new) == [("relay rcpt 5xx", 0.6)]
    assert refusing(new, new) == []


def test_a_restart_gives_no_negative_rates(pages: Pages) -> None:
    busy(pages)
    new = seen(pages, 1010)
    emptied = new._replace(
        at=1020.0, results=dict.fromkeys(new.results, 0), refusals={}
    )
    rates = between(new, emptied._replace(accept=[0] * len(new.accept)))
    assert min(rates) == 0.0


@pytest.mark.parametrize(
    ("counts", "share", "wanted"),
    [
        ([0, 0, 0], 0.5, 0.0),
        ([10, 0, 0], 0.5, 0.5),
        ([0, 10, 0], 0.5, 1.5),
        ([0, 10, 0], 1.0, 2.0),
        ([0, 0, 10], 0.99, 2.0),  # above the last edge: that edge, as Prometheus
    ],
)
def test_quantiles(counts: list[int], share: float, wanted: float) -> None:
    assert quantile(counts, (1.0, 2.0), share) == wanted


def remembered(pages: Pages, moments: int) -> History:
    async def run() -> History:
        history = History(lambda: seen(pages, 0.0))
        history.stop()
        for n in range(1, moments + 1):
            history.add(seen(pages, n * PAUSE))
        return history

    return asyncio.run(run())


def test_the_history_is_bounded_and_thinned_out(pages: Pages) -> None:
    history = remembered(pages, 800)
    assert history.moments.maxlen == HOURS * 360
    hour = history.since(3600, 400)
    assert len(hour) == 361
    assert hour[-1].at == 8000.0
    thin = history.since(1e9, 100)
    assert len(thin) == 100
    assert thin[-1].at == 8000.0
    assert remembered(pages, 0).since(60, 10) == []


def test_trouble_of_the_store_leaves_a_gap(pages: Pages) -> None:
    answers: list[Any] = [
        OSError("no"),
        seen(pages, 10.0),
        OSError(),
        seen(pages, 30.0),
    ]

    def look() -> Figures:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run() -> History:
        history = History(look)
        while answers:
            history._beat()
        history.stop()
        return history

    assert [moment.at for moment in asyncio.run(run()).moments] == [10.0, 30.0]


def test_numbers_are_short() -> None:
    values = (0, 12, 0.25, 9999, 12_300, 4.5e6, 2e9)
    shown = [plots.short(value) for value in values]
    assert shown == ["0", "12", "0.25", "9999", "12.3 k", "4.5 M", "2 G"]
    assert [plots.seconds(v) for v in (2.5, 0.0123, 4e-5)] == [
        "2.5 s",
        "12.3 ms",
        "40 µs",
    ]
    assert plots.ticks(730) == [0, 200, 400, 600, 800]
    assert plots.ticks(0) == [0.0, 1.0]


def test_areas_stack_and_the_axis_holds_them() -> None:
    curves = [
        plots.Curve("young", "green", [10, 30]),
        plots.Curve("old", "red", [10, 50]),
    ]
    svg = plots.plot([0.0, 10.0], curves, stacked=True)
    young, old = re.findall(r'<polygon points="([^"]*)"', svg)
    upper = young.split()[:2]
    assert old.split()[:-3:-1] == upper  # the lower edge, from right to left
    top = float(old.split()[1].split(",")[1])
    assert top == plots.TOP  # 80 is the last mark
    assert ">80<" in svg
    assert "00:00:10" in svg
    assert "<b>50</b>" in svg


def test_one_moment_makes_no_plot() -> None:
    assert "<svg" not in plots.plot([1.0], [plots.Curve("a", "red", [1])], False)


def server(**more: Any) -> page.Server:
    known = page.Server("mx.example.test", "1.0", "abc", 900.0, None, 950.0, False)
    return known._replace(**more)


def shown(pages: Pages, **more: Any) -> str:
    made = page.Page(
        lambda: seen(pages, 1000.0), remembered(pages, 9), lambda: server(**more)
    )
    return made.text(1)


def test_the_page_shows_the_queue_first(pages: Pages) -> None:
    busy(pages)
    html = shown(pages)
    assert "<title>mx.example.test: 9 in the queue</title>" in html
    heads = re.findall(r"<h2>([^<]*)</h2>", html)
    assert heads[:2] == ["Queue depth by state", "Queue depth by age"]
    assert {"Messages a second", "Latencies", "Processes", "Store"} <= set(heads)
    assert html.count("<svg") == 4
    assert "up 1 min 40 s; configuration read 50 s ago" in html
    assert 'http-equiv=refresh content="5"' in html
    assert "relay rcpt 5xx" in html


def test_the_page_runs_nothing_and_loads_nothing(pages: Pages) -> None:
    html = shown(pages)
    assert "&lt;script&gt;.test" in html  # a destination's name
    assert "<script" not in html
    assert not re.search(r"\b(src|on\w+)=|url\(|@import", html)


def test_the_page_says_what_is_wrong(pages: Pages) -> None:
    html = shown(pages, trouble="the disk is nearly full", refused=True)
    assert "not taken" in html
    assert "the disk is nearly full" in html
    assert "A later configuration was refused" in html
    assert "not taken" not in shown(pages)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (61, "1 min 1 s"), (90_061, "1 d 1 h")]
)
def test_times_have_two_units(seconds: int, text: str) -> None:
    assert page.ago(0, seconds) == text


def test_top_draws_it_in_a_terminal(pages: Pages) -> None:
    old = seen(pages, 1000)
    busy(pages)
    pages.tell(1, "serving")
    pages.excuse(1, "the disk is nearly full")
    lines = top.picture(old, seen(pages, 1010), False)
    text = "\n".join(lines)
    assert lines[0].startswith("9 in the queue, ")
    assert re.search(r"^incoming +5  #{28} +<= 1m +3  #+$", text, re.M)
    assert re.search(r"^deferred +3  #+ +<= 15m +0$", text, re.M)
    assert re.search(r"accepted +2\.0/s +queued +0\.8/s +accept p50 ", text)
    assert re.search(r"^<script>\.test +3 +relay rcpt 5xx +0\.6/s$", text, re.M)
    assert re.search(r"^receive +\d+ +serving +0% +0 +20  the disk is", text, re.M)
    assert "\x1b" not in text
    assert all(len(line) < 120 for line in lines)
    assert "\x1b[31m" in "\n".join(top.picture(old, old, True))


def test_top_gives_facts_to_programs(pages: Pages) -> None:
    old = seen(pages, 1000)
    busy(pages)
    found = top.facts(old, seen(pages, 1010))
    assert found["rates"]["accepted"] == 2.0
    assert found["destinations"] == {HOP: 3}
    assert found["workers"][0]["role"] == "receive"
