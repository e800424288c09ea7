"""Reload, drain and status, as the supervisor or the only process answers them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fakes import turns_until

from fastsmtp import blocks
from fastsmtp.config import Config, load
from fastsmtp.net.systemd import Notifier
from fastsmtp.outset import Outset
from fastsmtp.pages import Pages
from fastsmtp.serve.control import Declined, Summary
from fastsmtp.smtp import counts
from fastsmtp.steering import Drain, Knowledge, Reload, Status, Steering, differing
from fastsmtp.store.counts import Count

FILE = """\
hostname = "mx.example.test"
data = "data"
[domains."example.test"]
aliases = { postmaster = ["a@example.test"] }
"""


class Server:
    """Notes what it is told."""

    fixed: tuple[str, ...] = ("data", "processes.mode")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.holding = False
        self.applied: list[Config] = []
        self.declines = ""

    async def apply(self, config: Config) -> None:
        await asyncio.sleep(0)
        if self.declines:
            raise Declined(self.declines)
        self.config = config
        self.applied.append(config)

    def hold(self, on: bool) -> None:
        self.holding = on


class Said:
    """A log, a scrape and a systemd that remember."""

    interval = 0.0
    asked = True

    def __init__(self) -> None:
        self.log: list[tuple[str, ...]] = []
        self.good: list[bool] = []
        self.systemd: list[str] = []

    def config_refused(self, path: str, problem: str) -> None:
        self.log.append((path, problem))

    def server(self, what: str, about: str = "") -> None:
        self.log.append((what, about))

    def fault(self, where: str, error: BaseException) -> None:
        self.log.append((where, str(error)))

    def reloaded(self, good: bool) -> None:
        self.good.append(good)

    def status(self, text: str) -> None:
        self.systemd.append(text)

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.systemd.append(name)


class Rig:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "fastsmtp.toml"
        self.file.write_text(FILE)
        self.said = said = Said()
        self.server = Server(load(self.file))
        self.pages = Pages.create(folder / "counters", blocks.CELLS, 4)
        known = cast(
            Knowledge,
            SimpleNamespace(
                report=said,
                scrape=said,
                rows=lambda: iter([{"role": "all", "connections": 3}]),
                queue=lambda: {"incoming": 1},
            ),
        )
        outset = Outset(self.server.config, self.file, cast(Notifier, said))
        self.ended = False
        self.steering = Steering(self.server, outset, known, lambda: self.ended)

    async def ask(self, op: str, request: Any) -> tuple[Summary, list[dict[str, Any]]]:
        async def octets(count: int) -> bytes:
            return b""

        rows: list[dict[str, Any]] = []
        async for item in self.steering.table()[op].run(request, octets):
            if isinstance(item, Summary):
                return item, rows
            rows.append(item)
        raise AssertionError("no summary")


def rig(work: Callable[[Rig], Awaitable[None]]) -> Callable[[Path], None]:
    def test(tmp_path: Path) -> None:
        async def run() -> None:
            await work(Rig(tmp_path))

        asyncio.run(run())

    return test


@rig
async def test_a_right_file_takes_effect(rig: Rig) -> None:
    rig.file.write_text(FILE + '[log]\nlevel = "debug"\n')
    last, rows = await rig.ask("reload", Reload())
    assert rig.server.config.log.level == "debug"
    assert (rows, rig.said.good) == ([], [True])
    assert rig.said.log == [("reloaded", str(rig.file))]
    assert rig.said.systemd == ["reloading", "ready"]
    assert last["seconds"] >= 0


@rig
async def test_a_wrong_file_changes_nothing_and_each_mistake_is_said(rig: Rig) -> None:
    rig.file.write_text(FILE.replace("hostname", "hostnam"))
    problems: list[Any] = []
    with pytest.raises(Declined, match="2 mistakes; the configuration in use stays"):
        await rig.steering.reload(problems)
    assert {problem.key for problem in problems} == {"hostnam", "hostname"}
    assert [text for _, text in rig.said.log] == [
        "hostnam: is not a setting",
        "hostname: is missing and has no default",
    ]
    assert rig.said.log[0][0] == f"{rig.file}:1"
    assert rig.server.applied == []
    assert rig.said.good == [False]
    assert rig.said.systemd == ["reloading", "ready"]
    rig.file.write_text(FILE)
    await rig.ask("reload", Reload())
    assert rig.said.good == [False, True]


@rig
async def test_what_cannot_change_is_named(rig: Rig) -> None:
    rig.file.write_text(
        FILE.replace('"data"', '"other"') + '[processes]\nmode = "one"\n'
    )
    with pytest.raises(Declined, match=r"data, processes\.mode cannot change"):
        await rig.ask("reload", Reload())
    assert rig.server.applied == []
    assert rig.said.good == [False]


@rig
async def test_what_the_server_declines_is_said(rig: Rig) -> None:
    rig.server.declines = "the port is taken"
    with pytest.raises(Declined, match="the port is taken"):
        await rig.ask("reload", Reload())
    assert rig.said.log == [(str(rig.file), "the port is taken")]


@rig
async def test_warnings_do_not_keep_it_from_taking_effect(rig: Rig) -> None:
    rig.file.write_text(FILE.replace("postmaster", "info"))
    _, rows = await rig.ask("reload", Reload())
    assert [row["severity"] for row in rows] == ["warning"]
    assert len(rig.server.applied) == 1


@rig
async def test_reloads_come_one_after_the_other(rig: Rig) -> None:
    await asyncio.gather(*(rig.steering.reload() for _ in range(3)))
    assert len(rig.server.applied) == 3


@rig
async def test_a_signal_reloads_and_nobody_needs_to_hear(rig: Rig) -> None:
    rig.steering.hang_up()
    await turns_until(lambda: len(rig.server.applied) == 1)
    rig.file.write_text("")
    rig.steering.hang_up()
    await turns_until(lambda: rig.said.good == [True, False])


@rig
async def test_an_ending_server_neither_reloads_nor_drains(rig: Rig) -> None:
    rig.ended = True
    with pytest.raises(Declined, match="ending"):
        await rig.ask("reload", Reload())
    with pytest.raises(Declined, match="ending"):
        await rig.ask("drain", Drain())
    assert (await rig.ask("processes", Status()))[0]["state"] == "ending"


@rig
async def test_drain_and_back(rig: Rig) -> None:
    await rig.ask("drain", Drain())
    await rig.ask("drain", Drain())
    assert rig.server.holding
    status, rows = await rig.ask("processes", Status())
    assert (status["state"], status["connections"]) == ("draining", 3)
    assert len(rows) == 1
    await rig.ask("drain", Drain(undo=True))
    assert not rig.server.holding
    assert [what for what, _ in rig.said.log] == ["draining", "taking mail again"]
    assert json.dumps(status)


@rig
async def test_systemd_hears_that_all_serve_and_only_then_that_they_live(
    rig: Rig,
) -> None:
    rig.said.interval = 0.001
    serving, well = [False, False, True], [True, False]
    task = asyncio.ensure_future(
        rig.steering.watch(
            lambda: "the disk is full",
            lambda: serving.pop(0) if len(serving) > 1 else serving[0],
            lambda: well.pop(0) if len(well) > 1 else well[0],
        )
    )
    await asyncio.wait_for(turns_until(lambda: well == [False]), 5)
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    assert rig.said.systemd[:3] == ["ready", "alive", "the disk is full"]
    assert rig.said.systemd.count("alive") == 1


@rig
async def test_rows_tell_roles_connections_and_trouble(rig: Rig) -> None:
    cells = rig.pages.claim(2, "receive", 9)
    for block in blocks.SMTP.values():
        cells[block.first + counts.OPEN] = 2
    cells[blocks.STORE.first + Count.UNAPPLIED_MESSAGES] = 5
    rig.pages.tell(2, "serving")
    rig.pages.excuse(2, "the disk is full")

    class Empty:
        async def get(self, part: int, key: bytes) -> None:
            return None

        async def scan(self, *args: object) -> list[tuple[bytes, bytes]]:
            return []

    known = Knowledge(rig.pages, cast(Any, Empty()), cast(Any, None), cast(Any, None))
    (row,) = known.rows()
    assert (row["role"], row["slot"], row["epoch"]) == ("receive", 2, 9)
    assert row["connections"] == 2 * len(blocks.SMTP)
    assert row["trouble"] == "the disk is full"
    assert known.queue()["incoming"] == 5


def test_differing_compares_dotted_names(tmp_path: Path) -> None:
    old = Rig(tmp_path).server.config
    assert list(differing(old, old, ("data", "store.map_size"))) == []
