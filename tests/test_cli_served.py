"""The same verbs while a keeper serves: everything that writes goes over its socket."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from smallstore import cheapen_passwords, configured

from fastsmtp.cells import fresh
from fastsmtp.cli import access, main
from fastsmtp.cli.diagnosis import keeper
from fastsmtp.config import Config, load
from fastsmtp.serve.control import ControlServer
from fastsmtp.serve.operations import Operations
from fastsmtp.store import counts
from fastsmtp.store.lmdb import LmdbStore, lock, next_epoch

ALICE = "alice@example.test"
Output = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cheapen_passwords(monkeypatch)
    return configured(tmp_path)


class Keeper(threading.Thread):
    """A keeper with its control socket, on a loop of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.ended: asyncio.Event | None = None
        self.ops: list[str] = []

    def run(self) -> None:
        self.loop.run_until_complete(self.serve())
        self.loop.close()

    async def serve(self) -> None:
        config, self.ended = self.config, asyncio.Event()
        async with AsyncExitStack() as stack:
            stack.enter_context(lock(config.data))
            epoch = next_epoch(config.data, config.store)
            store = await LmdbStore.open(
                *(config.data, None, config.store),
                epoch=epoch,
                series=0,
                cells=fresh(counts.SIZE),
            )
            stack.push_async_callback(store.close)
            following = asyncio.ensure_future(
                store.follow(access.delivery(config, store))
            )
            stack.callback(following.cancel)
            table = Operations(store, config.domains, store.backup).table()
            server = ControlServer(config.run, Log(table, self.ops))
            await server.start()
            stack.push_async_callback(server.close)
            self.ready.set()
            await self.ended.wait()

    def end(self) -> None:
        assert self.ended is not None
        self.loop.call_soon_threadsafe(self.ended.set)
        self.join()


class Log(dict):  # type: ignore[type-arg]
    """A table that notes what was asked of it."""

    def __init__(self, table: dict[str, object], ops: list[str]) -> None:
        super().__init__(table)
        self.ops = ops

    def get(self, op: str, default: object = None) -> object:
        self.ops.append(op)
        return super().get(op, default)


@pytest.fixture
def served(file: Path) -> Iterator[Keeper]:
    thread = Keeper(load(file, {}))
    thread.start()
    assert thread.ready.wait(5)
    yield thread
    thread.end()


def do(file: Path, *words: str) -> int:
    return main([*words, "-c", str(file)])


def test_everything_goes_over_the_socket(
    served: Keeper, file: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    Path("in.mbox").write_bytes(
        b"From a Tue Nov 24 04:12:00 2026\nA: b\n\nFrom the start\n\n"
        b"From a Tue Nov 24 04:12:01 2026\nA: c\n\n" + b"long " * 60_000 + b"\n\n"
    )
    assert do(file, "user", "add", ALICE, "--generate") == 0
    assert do(file, "user", "passwd", ALICE, "--generate") == 0
    assert do(file, "mail", "import", ALICE, "in.mbox") == 0
    assert do(file, "backup", "copy") == 0
    capsys.readouterr()
    assert do(file, "mail", "list", ALICE, "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["uid"] for row in found] == [1, 2]
    assert found[1]["size"] == 300_010
    assert do(file, "user", "add", ALICE, "--generate") == 1
    assert "has an account already" in capsys.readouterr().err
    assert do(file, "user", "remove", ALICE, "--yes") == 0
    assert do(file, "verify", "copy") == 0
    elsewhere = Path("elsewhere")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["verify", "../copy"]) == 0, "a backup needs no configuration"
    assert set(served.ops) == {
        *("user.add", "user.passwd", "user.remove", "mail.import", "backup")
    }


def test_verify_wants_the_store_for_itself(
    served: Keeper, file: Path, capsys: Output
) -> None:
    assert do(file, "verify") == 1
    assert "stop it, or make a backup" in capsys.readouterr().err


def test_a_socket_that_does_not_answer_is_not_passed_by(
    served: Keeper, file: Path, capsys: Output
) -> None:
    """A server that is starting has the lock and no socket yet."""
    (served.config.run / "control.sock").rename(served.config.run / "away")
    assert do(file, "user", "add", ALICE, "--generate") == 1
    assert "is in use by a running fastsmtp" in capsys.readouterr().err


def test_doctor_asks_it(served: Keeper) -> None:
    (found,) = keeper(served.config)
    assert found.verdict == "good"
    assert "(pid " in found.text


def test_doctor_without_a_server(file: Path) -> None:
    (found,) = keeper(load(file, {}))
    assert (found.verdict, found.text) == ("good", "not running")
