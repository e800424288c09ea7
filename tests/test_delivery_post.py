"""The socket between the keeper and the processes that send: what is said arrives
whole, in whatever pieces; each end outlives the other, and what it should not say."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from struct import pack
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fakes import turns_until
from village import Village

from fastsmtp.delivery import jobs, post
from fastsmtp.delivery.alarm import LoopAlarm
from fastsmtp.delivery.attempt import Attempt
from fastsmtp.delivery.jobs import Frames, Hello, Job, Key, Outcome, frame
from fastsmtp.delivery.post import Clerk, Direct, Senders
from fastsmtp.policy.relaying import NextHop
from fastsmtp.queue.message import Envelope, Recipient
from fastsmtp.smtp.letter import Answer
from fastsmtp.store.memory import MemoryStore

TAKEN = Answer(250, "2.0.0", "Ok", "body")


def job(id: int, name: str = "a.test") -> Job:
    hop = NextHop("smtp", name, 25, True, "may", key=f"smtp:{name}")
    to = Recipient(f"u@{name}", "NEVER")
    return Job(id, name, hop, Envelope("s\u00f8@x.test", (to,), 7, 10), 1000)


def outcome(id: int, name: str = "a.test") -> Outcome:
    answers = ((f"u@{name}", TAKEN),)
    return Outcome(id, name, f"smtp:{name}", "mx", True, 0.5, False, answers)


SAID: list[tuple[int, Any]] = [
    (jobs.HELLO, Hello(((Key(1, "a.test"), "smtp:a.test"),), (outcome(2),))),
    (jobs.GIVE, [job(3), job(4, "b.test")]),
    (jobs.DONE, [outcome(3)]),
    (jobs.BACK, [(4, "b.test", "smtp:b.test")]),
    (jobs.RECORDED, [Key(3, "a.test"), Key(2, "a.test")]),
    (jobs.GIVE, []),
]
STREAM = b"".join(frame(kind, what) for kind, what in SAID)


# frames


def test_frames_cut_anywhere_are_the_same() -> None:
    """Whole, octet by octet, and in two pieces at every place."""
    assert list(Frames().feed(STREAM)) == SAID
    slow = Frames()
    octets = (STREAM[n : n + 1] for n in range(len(STREAM)))
    assert [said for octet in octets for said in slow.feed(octet)] == SAID
    for cut in range(len(STREAM) + 1):
        frames = Frames()
        first = list(frames.feed(STREAM[:cut]))
        assert first + list(frames.feed(STREAM[cut:])) == SAID
        assert first == SAID[: len(first)]


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        pack(">IB", jobs.LARGEST + 1, jobs.DONE),
        pack(">IB", 1, 0) + b"\x90",
        pack(">IB", 1, 6) + b"\x90",
        pack(">IB", 0, jobs.GIVE),
        pack(">IB", 1, jobs.GIVE) + b"\xc1",
        pack(">IB", 1, jobs.DONE) + b"\x91",
        pack(">IB", 1, jobs.HELLO) + b"\x90",
        pack(">IB", 2, jobs.RECORDED) + b"\x90\x90",
        frame(jobs.DONE, [job(1)]),
        frame(jobs.GIVE, [outcome(1)]),
        frame(jobs.BACK, [("1", "a.test", "smtp:a.test")]),
    ],
)
def test_what_no_peer_of_this_version_says_is_an_error(octets: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        list(Frames().feed(octets))


def test_a_length_alone_holds_no_memory_to_ransom() -> None:
    frames = Frames()
    assert list(frames.feed(pack(">IB", jobs.LARGEST, jobs.DONE))) == []
    assert len(frames._rest) == 5


def test_more_than_a_frame_holds_is_several(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [job(n) for n in range(100)]
    monkeypatch.setattr(jobs, "LARGEST", 1000)
    data = frame(jobs.GIVE, many)
    got = list(Frames().feed(data))
    assert len(got) > 1
    assert [one for _, part in got for one in part] == many
    monkeypatch.setattr(jobs, "LARGEST", 10)  # one job is never cut
    with pytest.raises(ValueError, match="a frame of kind 1"):
        list(Frames().feed(frame(jobs.GIVE, many[:1])))


# both ends


class Told:
    """A dispatcher that remembers what it hears. `strange`: ids that are not in the
    queue, or are somebody else's."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.strange: set[int] = set()

    def finished(self, attempt: Attempt) -> None:
        self.heard.append(("finished", attempt.id))

    def returned(self, id: int, name: str, hop: str) -> None:
        self.heard.append(("returned", id, name, hop))

    def resumed(self, key: Key, hop: str) -> bool:
        if key.id in self.strange:
            return False
        self.heard.append(("resumed", key, hop))
        return True

    def connected(self) -> None:
        self.heard.append(("connected",))

    def take(self) -> list[tuple[Any, ...]]:
        heard, self.heard = self.heard, []
        return heard


class Sending:
    """The relay of a sender: `active` are jobs in connections."""

    def __init__(self) -> None:
        self.active: dict[Key, Any] = {}
        self.recorded_keys: list[Key] = []
        self.forgotten = 0

    def give(self, job: Job) -> None:
        self.active[job.key] = SimpleNamespace(job=job)

    def recorded(self, key: Key) -> None:
        self.recorded_keys.append(key)

    def forget_waiting(self) -> None:
        self.forgotten += 1


class Process:
    """A process that sends."""

    def __init__(self, path: Path) -> None:
        self.faults: list[BaseException] = []
        self.relay = Sending()
        self.clerk = Clerk(path, self.fault)
        self.clerk.relay = self.relay  # type: ignore[assignment]
        self.task = asyncio.ensure_future(self.clerk.run())

    def fault(self, what: str, error: BaseException) -> None:
        self.faults.append(error)

    def finish(self, id: int, name: str = "a.test") -> None:
        self.relay.active.pop(Key(id, name), None)
        self.clerk.finished(outcome(id, name))

    @property
    def ids(self) -> set[int]:
        return {key.id for key in self.relay.active}

    def cut(self) -> None:
        """The link goes, the process stays."""
        assert self.clerk.transport is not None
        self.clerk.transport.abort()

    async def die(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        if self.clerk.transport is not None:
            self.clerk.transport.abort()


class Office:
    """A keeper, and processes that send."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told = Told()
        self.faults: list[BaseException] = []
        self.senders = self.keeper()

    def keeper(self) -> Senders:
        dispatcher: Any = self.told
        return Senders(self.path, dispatcher, self.fault)

    def fault(self, what: str, error: BaseException) -> None:
        self.faults.append(error)

    async def hire(self) -> Process:
        before = len(self.senders._desks)
        made = Process(self.path)
        await until(lambda: sum(d.greeted for d in self.senders._desks) > before)
        return made


@contextlib.asynccontextmanager
async def office(folder: Path) -> AsyncIterator[Office]:
    made = Office(folder / "send.sock")
    await made.senders.open()
    try:
        yield made
    finally:
        await made.senders.close()


async def until(true: Callable[[], bool]) -> None:
    await asyncio.wait_for(turns_until(true), 10)


def run(story: Coroutine[Any, Any, None], patch: pytest.MonkeyPatch) -> None:
    patch.setattr(post, "_RETRY", 0.0)
    asyncio.run(story)


def test_a_job_goes_there_and_its_outcome_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            assert not one.senders.give(job(1))  # nobody is there
            sender = await one.hire()
            assert one.told.take() == [("connected",)]
            assert [one.senders.give(job(n)) for n in (1, 2, 3)] == [True] * 3
            await until(lambda: sender.ids == {1, 2, 3})
            assert sender.relay.active[Key(2, "a.test")].job == job(2)
            sender.finish(1)
            sender.finish(2)
            sender.clerk.returned(job(3))
            await until(lambda: len(one.told.heard) == 3)
            assert one.told.take() == [
                *(("finished", 1), ("finished", 2)),
                ("returned", 3, "a.test", "smtp:a.test"),
            ]
            settled = asyncio.ensure_future(sender.clerk.settled(10.0))
            one.senders.recorded(Key(1, "a.test"))
            await until(lambda: len(sender.relay.recorded_keys) == 1)
            assert not settled.done()
            one.senders.recorded(Key(2, "a.test"))
            await until(settled.done)
            await sender.clerk.settled(0.0)
            await sender.die()

    run(story(), monkeypatch)


def test_a_sender_that_goes_away_leaves_its_jobs_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            sender = await one.hire()
            for n in (1, 2):
                one.senders.give(job(n))
            await until(lambda: sender.ids == {1, 2})
            sender.finish(1)
            await until(lambda: ("finished", 1) in one.told.heard)
            one.told.take()
            await sender.die()
            await until(lambda: bool(one.told.heard))
            # nobody else is there, so nothing waits for a sender that has come
            assert one.told.take() == [("returned", 2, "a.test", "smtp:a.test")]
            assert not one.senders.give(job(2))

    run(story(), monkeypatch)


def test_all_for_a_next_hop_goes_through_one_sender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            first, second = await one.hire(), await one.hire()
            names = [f"d{n % 10}.test" for n in range(100)]
            for n, name in enumerate(names):
                one.senders.give(job(n, name))
            both = first.relay.active, second.relay.active
            await until(lambda: sum(map(len, both)) == 100)
            here, there = ({key.destination for key in active} for active in both)
            assert not here & there
            assert here
            assert there
            lost = len(first.relay.active)
            one.told.take()
            await first.die()
            await until(lambda: ("connected",) in one.told.heard)
            assert len(one.told.take()) == lost + 1
            assert one.senders.give(job(200, min(here)))
            await until(lambda: 200 in second.ids)
            await second.die()

    run(story(), monkeypatch)


def test_who_comes_back_names_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keeper dies; the next one hears what is in connections and what came of the
    rest, before anything is given."""

    async def story() -> None:
        one = Office(tmp_path / "send.sock")
        await one.senders.open()
        sender = await one.hire()
        for n in range(1, 5):
            one.senders.give(job(n))
        await until(lambda: sender.ids == {1, 2, 3, 4})
        sender.finish(1)
        await until(lambda: ("finished", 1) in one.told.heard)
        await one.senders.close()
        await until(lambda: sender.clerk.transport is None)
        sender.finish(2)  # nobody hears it now
        sender.clerk.returned(job(4))
        del sender.relay.active[Key(4, "a.test")]
        assert sender.relay.forgotten == 1
        one.told.take()
        one.senders = one.keeper()
        await one.senders.open()
        await until(lambda: ("connected",) in one.told.heard)
        assert one.told.take() == [
            ("resumed", Key(3, "a.test"), "smtp:a.test"),
            ("resumed", Key(1, "a.test"), "smtp:a.test"),
            ("finished", 1),
            ("resumed", Key(2, "a.test"), "smtp:a.test"),
            ("finished", 2),
            ("connected",),
        ]
        for n in (1, 2):
            one.senders.recorded(Key(n, "a.test"))
        await asyncio.wait_for(sender.clerk.settled(10.0), 10)
        sender.finish(3)
        await until(lambda: one.told.heard == [("finished", 3)])
        await sender.die()
        await one.senders.close()

    run(story(), monkeypatch)


def test_what_it_holds_may_be_nobodys_business_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that left the queue, or that another sender has: the outcome is
    acknowledged and changes nothing, and a lost link gives nothing back."""

    async def story() -> None:
        async with office(tmp_path) as one:
            sender = await one.hire()
            for n in (1, 2, 3):
                one.senders.give(job(n))
            await until(lambda: sender.ids == {1, 2, 3})
            one.told.strange = {1, 2}
            sender.clerk._outcomes[Key(1, "a.test")] = outcome(1)
            del sender.relay.active[Key(1, "a.test")]
            one.told.take()
            sender.cut()
            await until(lambda: ("connected",) in one.told.heard)
            await until(lambda: sender.relay.recorded_keys == [Key(1, "a.test")])
            came = one.told.take()
            assert came[3:] == [
                ("resumed", Key(3, "a.test"), "smtp:a.test"),
                ("connected",),
            ]
            sender.finish(2)
            await until(lambda: len(sender.relay.recorded_keys) == 2)
            await sender.clerk.settled(0.0)
            assert not sender.clerk._outcomes
            sender.clerk.returned(job(2))
            await sender.die()
            await until(lambda: bool(one.told.heard))
            assert one.told.take() == [("returned", 3, "a.test", "smtp:a.test")]

    run(story(), monkeypatch)


def test_an_outcome_of_a_job_that_was_never_given_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads what strangers' servers say; it must not be able to empty the queue."""

    async def story() -> None:
        async with office(tmp_path) as one:
            sender = await one.hire()
            one.told.take()
            sender.finish(77)
            await until(lambda: sender.relay.recorded_keys == [Key(77, "a.test")])
            assert one.told.take() == []
            await sender.die()

    run(story(), monkeypatch)


async def stranger(one: Office, octets: bytes) -> None:
    """Somebody says this to the keeper, and sees the end of the connection."""
    reader, writer = await asyncio.open_unix_connection(one.path)
    writer.write(octets)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        pack(">IB", jobs.LARGEST + 1, jobs.HELLO) + b"x" * 100_000,
        frame(jobs.HELLO, Hello((), ())) + pack(">IB", 1, jobs.DONE) + b"\xc1",
    ],
)
def test_garbage_ends_one_connection_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, octets: bytes
) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            sender = await one.hire()
            one.senders.give(job(1))
            await until(lambda: sender.ids == {1})
            await stranger(one, octets)
            assert len(one.faults) == 1
            await until(lambda: len(one.senders._desks) == 1)
            sender.finish(1)
            await until(lambda: ("finished", 1) in one.told.heard)
            assert not sender.faults
            await sender.die()

    run(story(), monkeypatch)


def test_a_sender_that_goes_mad_gives_back_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            sender = await one.hire()
            one.senders.give(job(1))
            await until(lambda: sender.ids == {1})
            one.told.take()
            assert sender.clerk.transport is not None
            sender.clerk.transport.write(frame(jobs.DONE, [outcome(1)])[:-3] + b"mad")
            await until(lambda: ("connected",) in one.told.heard)
            key = Key(1, "a.test")
            assert one.told.take()[-3:] == [
                ("returned", 1, "a.test", "smtp:a.test"),
                ("resumed", key, "smtp:a.test"),  # it is in a connection still
                ("connected",),
            ]
            assert len(one.faults) == 1
            await sender.die()

    run(story(), monkeypatch)


def test_a_keeper_that_goes_mad_is_called_again_slower_and_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of another version; the log must not fill with it."""
    pauses: list[float] = []
    really = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await really(0)

    async def mad(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff" * 20)
        writer.close()

    async def story() -> None:
        path = tmp_path / "send.sock"
        server = await asyncio.start_unix_server(mad, path)
        monkeypatch.setattr(asyncio, "sleep", noted)
        sender = Process(path)
        while len(sender.faults) < 8:
            await really(0)
        monkeypatch.undo()
        await sender.die()
        server.close()

    asyncio.run(asyncio.wait_for(story(), 10))
    assert pauses[:7] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_the_socket_is_the_owners_and_replaces_a_dead_one(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "send.sock"
        dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        dead.bind(str(path))
        dead.close()
        one = Office(path)
        await one.senders.open()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await one.senders.close()
        assert not path.exists()
        path.write_text("somebody's file")
        with pytest.raises(OSError, match="in use"):
            await one.keeper().open()
        assert path.read_text() == "somebody's file"

    asyncio.run(story())


def test_who_settles_with_nobody_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def story() -> None:
        sender = Process(tmp_path / "nobody.sock")
        sender.finish(1)
        await sender.clerk.settled(0.01)
        assert list(sender.clerk._outcomes) == [Key(1, "a.test")]
        await sender.die()

    asyncio.run(story())


def test_in_one_process_nothing_is_in_between() -> None:
    told, relay = Told(), Sending()
    dispatcher: Any = told
    direct = Direct(dispatcher)
    direct.relay = relay  # type: ignore[assignment]
    assert direct.give(job(1))
    assert list(relay.active) == [Key(1, "a.test")]
    direct.finished(outcome(1))
    direct.returned(job(2))
    direct.recorded(Key(1, "a.test"))
    assert told.heard == [("finished", 1), ("returned", 2, "a.test", "smtp:a.test")]
    assert relay.recorded_keys == [Key(1, "a.test")]


def test_in_one_process_an_end_waits_until_outcomes_are_written_down() -> None:
    async def story() -> None:
        direct = Direct(Told())  # type: ignore[arg-type]
        direct.relay = Sending()  # type: ignore[assignment]
        await direct.settled(10.0)
        for n in (1, 2):
            direct.give(job(n))
            direct.finished(outcome(n))
        settled = asyncio.ensure_future(direct.settled(10.0))
        direct.recorded(Key(1, "a.test"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not settled.done()
        direct.recorded(Key(2, "a.test"))
        await settled
        direct.give(job(3))
        direct.finished(outcome(3))
        await direct.settled(0.0)  # what is not written is due again

    asyncio.run(story())


# with the queue that is behind it


def test_the_books_are_right_after_a_sender_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three messages one is under way, one was delivered and nobody wrote it down,
    one has left the queue. However often the link breaks: nothing is counted twice,
    and all of it leaves."""

    async def story() -> None:
        village = Village(MemoryStore())
        village.alarm = LoopAlarm()  # type: ignore[assignment]
        names = ["one.test", "two.test"]
        ids = [await village.send(f"u@{name}") for name in names]
        dispatcher = village.working()
        senders = Senders(tmp_path / "send.sock", dispatcher, print)
        dispatcher.sender = senders
        sender = Process(tmp_path / "send.sock")
        sender.relay.give(job(ids[0], names[0]))
        sender.finish(ids[1], names[1])
        sender.finish(ids[1] + 1, "gone.test")
        await senders.open()
        work = asyncio.ensure_future(dispatcher.run())
        for _ in range(3):
            await until(lambda: any(desk.greeted for desk in senders._desks))
            assert 1 <= dispatcher.active <= 2
            sender.cut()
            await until(lambda: not senders._desks)
        await until(lambda: not sender.clerk._outcomes)
        sender.finish(ids[0], names[0])
        await until(lambda: not sender.clerk._outcomes)
        assert dispatcher.active == 0
        assert not dispatcher._hops
        assert await village.queue() == []
        assert sorted(by.id for by in village.gone) == ids
        village.verify()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await sender.die()
        await senders.close()

    run(story(), monkeypatch)
