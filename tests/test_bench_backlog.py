"""The queue that `fastsmtp-bench backlog` makes, and what it says of a server on it."""

import asyncio
import time
from pathlib import Path

import pytest

from fastsmtp import config
from fastsmtp.cli.reading import reading
from fastsmtp.queue import moves
from fastsmtp.queue.listing import gauges, top
from fastsmtp.queue.message import State
from fastsmtp_bench import backlog, fill_queue
from fastsmtp_bench.backlog import Started
from fastsmtp_bench.fill_queue import EARLIEST, HOUR, Plan
from fastsmtp_bench.served import Served

NOW = 1_700_000_000_000


@pytest.mark.parametrize("due", list(EARLIEST))
def test_all_is_due_when_the_plan_says(due: str) -> None:
    plan = Plan(1000, 10, due)
    dues = [fill_queue.entry(n, plan, NOW).due - NOW for n in range(1000)]
    assert min(dues) >= EARLIEST[due]
    assert max(dues) < EARLIEST[due] + 3 * HOUR
    assert (max(dues) < 0) == (due == "now")
    assert (min(dues) > 0) == (due == "later")


def test_messages_are_spread_over_as_many_domains_as_are_wanted() -> None:
    for domains in (1, 50):
        plan = Plan(1000, domains)
        entries = [fill_queue.entry(n, plan, NOW) for n in range(1000)]
        names = {name for one in entries for name in moves.destinations(one)}
        assert len(names) == domains
        assert sum(len(one.targets) == 2 for one in entries) == 50


def test_the_queue_is_what_the_server_would_have_written(tmp_path: Path) -> None:
    server = Served(tmp_path)
    server.configure()
    asyncio.run(fill_queue.run(server.configuration, Plan(100, 5)))

    async def case() -> None:
        async with reading(config.load(server.configuration)) as store:
            depths = await gauges(store, time.time_ns() // 1_000_000)
            assert depths[State.DEFERRED].messages == 75
            assert depths[State.SCHEDULED].messages == 25
            found, other = await top(store, 5)
            assert sum(one.messages for one in found) == 105
            assert other.messages == 0

    asyncio.run(case())


def test_growth_is_told_of_each_process_and_of_all() -> None:
    empty = Started(0.1, 0.2, {"keep": 2e6, "send": 1e6})
    full = Started(0.1, 0.2, {"keep": 3e6, "send": 1e6, "read": 1000.0})
    found = {one.what: one.value for one in backlog.growth(full, empty, 1000)}
    assert found["memory, keep"] == "+1000.0 octets a message"
    assert found["memory, send"] == "+0.0 octets a message"
    assert found["memory, read"] == "+1.0 octets a message"
    assert found["memory, all"] == "+1001.0 octets a message"


@pytest.mark.slow
def test_a_small_backlog_is_measured_whole(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "SETTLE", 1.0)
    words = ["--messages", "500", "--domains", "5", "--seconds", "1", "--rounds", "1"]
    backlog.main([*words, "--directory", str(tmp_path)])
    told = capsys.readouterr().out
    assert "| `queue delete --all --preview` |" in told
    assert "500 messages, 5 domains" in told
    assert "| a message to a next hop that works |" in told
