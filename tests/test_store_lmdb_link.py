"""A reader commits through the keeper, who trusts nothing of what it asks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from struct import Struct
from typing import Any

import msgspec
import pytest
from contract.bench import PART, obey
from contract.promises import Blobs, Index
from storebench import OPTIONS, keeper, mail, receiver, run, until

from fastsmtp.errors import Conflict, Misused, StoreUnavailable
from fastsmtp.store import keys
from fastsmtp.store.base import Check
from fastsmtp.store.lmdb import LmdbStore, link, request
from fastsmtp.store.lmdb.work import Change

FRAME = Struct("<BxxxIQQ")
QUEUE_KEY = keys.queued(1)


class Through:
    """A reader's store; what only a keeper can, its keeper does."""

    def __init__(self, keeping: LmdbStore, reading: LmdbStore) -> None:
        self._keeping = keeping
        self.commit = reading.commit
        self.get = reading.get
        self.get_each = reading.get_each
        self.scan = reading.scan
        self.blob_open = reading.blob_open
        self.open_now = reading.open_now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keeping, name)


class OnLink:
    @asynccontextmanager
    async def opened(self, place: Path) -> AsyncIterator[Any]:
        async with (
            keeper(place, apply=None, socket=True) as keeping,
            receiver(place) as reading,
        ):
            yield Through(keeping, reading)


class TestIndexByLink(OnLink, Index):
    """The promises about commits and reads, kept through the link."""


class TestBlobsByLink(OnLink, Blobs):
    """And those about references."""


def change(part: int = PART, **what: Any) -> Change:
    given = {"checks": (), "puts": (), "deletes": (), "refs": {}} | what
    return Change(part, **given)


@pytest.mark.parametrize(
    "asked",
    [
        change(),
        change(checks=[Check(b"a", None), Check(b"b", b"")], puts=[(b"c", b"\xff")]),
        change(deletes=[b"x"], refs={1 << 63: -1, 7: 2}),
        change(
            keys.DIRECTORY,
            checks=[Check(request.COUNTER, keys.u64(7))],
            puts=[(request.COUNTER, keys.u64(8))],
        ),
    ],
)
def test_what_is_asked_arrives_as_it_is(asked: Change) -> None:
    made = request.decode(request.encode(asked))
    assert (made.part, list(made.checks)) == (asked.part, list(asked.checks))
    assert list(made.puts) == list(asked.puts)
    assert list(made.deletes) == list(asked.deletes)
    assert dict(made.refs) == dict(asked.refs)


COUNTED = [Check(request.COUNTER, keys.u64(7))]


@pytest.mark.parametrize(
    "asked",
    [
        change(keys.QUEUE, puts=[(QUEUE_KEY, b"")]),
        change(keys.QUEUE, deletes=[QUEUE_KEY]),
        change(keys.DIRECTORY, puts=[(keys.account("a@b"), b"")]),
        change(keys.DIRECTORY, deletes=[keys.account("a@b")]),
        change(keys.DIRECTORY, checks=COUNTED, puts=[(request.COUNTER, keys.u64(7))]),
        change(keys.DIRECTORY, checks=COUNTED, puts=[(request.COUNTER, b"\xff")]),
        change(keys.DIRECTORY, puts=[(request.COUNTER, keys.u64(8))]),
        change(
            keys.DIRECTORY,
            checks=COUNTED,
            puts=[(request.COUNTER, keys.u64(9)), (b"v", b"")],
        ),
        change(-1, puts=[(b"a", b"")]),
        change(puts=[(b"", b"")]),
        change(puts=[(b"k" * 504, b"")]),
        change(deletes=[b"k" * 504]),
        change(checks=[Check(b"", None)]),
        change(refs={-1: 1}),
        change(refs={1: 1 << 31}),
    ],
)
def test_what_a_reader_may_not_do_is_refused(asked: Change) -> None:
    wire = (
        *(asked.part, [tuple(c) for c in asked.checks], asked.puts),
        *(asked.deletes, asked.refs),
    )
    with pytest.raises(Misused):
        request.decode(msgspec.msgpack.encode(wire))


@pytest.mark.parametrize(
    "octets",
    [b"", b"\xc1", b"\x95", b"\x90", msgspec.msgpack.encode([300, [], [], [], {}, 1])],
)
def test_nonsense_is_refused(octets: bytes) -> None:
    with pytest.raises(Misused):
        request.decode(octets)


def test_errors_arrive_as_what_they_are() -> None:
    for error in (Conflict("a"), KeyError(7), Misused("b"), StoreUnavailable("c")):
        made = request.error_of(*request.status_of(error))
        assert type(made) is type(error)
        assert made.args == error.args
    assert isinstance(
        request.error_of(*request.status_of(ZeroDivisionError("x"))), StoreUnavailable
    )


def test_a_commit_waits_for_a_keeper_that_is_replaced(tmp_path: Path) -> None:
    async def replaced() -> None:
        async with (
            keeper(tmp_path, socket=True) as first,
            receiver(tmp_path) as reading,
        ):
            await reading.commit(PART, puts=[(b"a", b"1")])
            hub = first.keeper
            assert hub is not None
            assert hub.link is not None
            await hub.link.close()
            assert reading._link is not None
            await until(lambda: not reading._link.connected)
            waiting = asyncio.ensure_future(reading.commit(PART, puts=[(b"a", b"2")]))
            await asyncio.sleep(0)
            assert not waiting.done()
            await hub.serve(tmp_path / "run" / "keeper.sock")
            await waiting
            assert first.peek(PART, b"a") == b"2"

    run(replaced())


def test_without_a_keeper_it_fails_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_PATIENCE", 0.01)

    async def case() -> None:
        async with (
            keeper(tmp_path, socket=True) as first,
            receiver(tmp_path) as reading,
        ):
            hub = first.keeper
            assert hub is not None
            assert hub.link is not None
            server = hub.link
            # A socket that asyncio is still accepting is not closed with the server.
            await until(lambda: bool(server.connected))
            await server.close()
            assert reading._link is not None
            await until(lambda: not reading._link.connected)
            with pytest.raises(StoreUnavailable, match="away"):
                await reading.commit(PART, puts=[(b"a", b"2")])

    run(case())


def test_what_was_not_answered_when_the_keeper_went_fails(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            keeper(tmp_path, socket=True) as first,
            receiver(tmp_path) as reading,
        ):
            hub = first.keeper
            assert hub is not None
            assert hub.link is not None
            await reading.commit(PART, puts=[(b"a", b"1")])
            hub.link.hub = Silent()  # type: ignore[assignment]
            asked = asyncio.ensure_future(reading.commit(PART, puts=[(b"a", b"2")]))
            await until(lambda: bool(Silent.asked))
            await hub.link.close()
            with pytest.raises(StoreUnavailable, match="before it answered"):
                await asked

    run(case())


class Silent:
    """A keeper that dies over the first commit."""

    asked: list[bytes] = []

    def commit(self, asked: bytes) -> "asyncio.Future[int]":
        self.asked.append(asked)
        return asyncio.get_running_loop().create_future()

    def gone(self, series: int) -> None: ...


async def stranger(place: Path, octets: bytes) -> bytes:
    """Says this to the keeper; what it answers until it hangs up or has said enough."""
    path = str(place / "run" / "keeper.sock")
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(octets)
    writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "octets",
    [
        FRAME.pack(link.COMMIT, 0, 1, 0),
        FRAME.pack(link.COMMIT, 3, 1, 0) + b"\xc1\xc1\xc1",
        FRAME.pack(link.COMMIT, 0xFFFFFFFF, 1, 0) + b"x" * 100,
        FRAME.pack(link.ANSWER, 1, 1, 0) + b"\x00",
        FRAME.pack(link.COMMIT, 100, 1, 0) + b"x" * 50,
        b"\xff" * 24 * 100,
    ],
)
def test_nonsense_on_the_link_hurts_nobody(tmp_path: Path, octets: bytes) -> None:
    async def case() -> None:
        async with (
            keeper(tmp_path, socket=True) as keeping,
            receiver(tmp_path) as reading,
        ):
            await stranger(tmp_path, octets)
            await mail(keeping, b"body\r\n")
            await reading.commit(PART, puts=[(b"a", b"1")])
            assert keeping.peek(PART, b"a") == b"1"

    run(case())


def test_many_commits_in_pieces_are_all_answered(tmp_path: Path) -> None:
    """More than are worked on at once, one of them large."""

    async def case() -> None:
        async with (
            keeper(tmp_path, apply=obey, socket=True) as keeping,
            receiver(tmp_path, OPTIONS) as reading,
        ):
            large = b"x" * 300_000
            versions = await asyncio.gather(
                *(
                    reading.commit(PART, puts=[(b"%d" % n, large if n == 50 else b"1")])
                    for n in range(200)
                )
            )
            assert len(set(versions)) == 200
            assert keeping.peek(PART, b"50") == large
            assert await reading.get_each(PART, [b"199", b"none", b"0"]) == [
                *(b"1", None, b"1")
            ]

    run(case())
