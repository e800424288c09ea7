"""Orders about a queue of 5,000 messages while a server runs: the keeper is killed in
the middle, and the same orders without a server have the same end."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Final

import pytest
from crash.kill_rig import USER, prepared, until, workers
from msgspec.structs import replace
from shims.faults import Faults

from fastsmtp.cli import access
from fastsmtp.cli.reading import reading
from fastsmtp.config import load
from fastsmtp.queue import moves, selection
from fastsmtp.queue.message import (
    Envelope,
    Queued,
    Recipient,
    Standing,
    State,
    Target,
    queue_id,
)
from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb import LmdbStore, lock
from fastsmtp_bench.served import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]
MESSAGES: Final = 5000
MEANT: Final = 4500  # with somebody waiting at far.test; every tenth at near.test too
ALL_MEANT: Final = ("--domain", "far.test", "--yes")
TOGETHER: Final = 200  # messages in one transaction
HOUR: Final = 3_600_000  # milliseconds
BODY: Final = b"Subject: x\r\n\r\nhello\r\n"
ELSEWHERE: Final = "smtp://192.0.2.1:25"
SMALL: Final = '[store]\nsegment_size = "4 MiB"\nreserve = 0\nmin_free = 0\n'
COMMITS: Final = re.compile(
    r'^fastsmtp_store_commit_duration_seconds_count\{store="index"\} (\d+)',
    re.MULTILINE,
)
Queue = dict[int, Queued]


def made(number: int, now: int) -> Queued:
    """One in the queue since an hour, tried twice, due again in an hour."""
    names = ["far.test"] if number < MEANT else ["near.test"]
    names += ["near.test"] if number % 10 == 0 and number < MEANT else []
    to = tuple(f"u{number}@{name}" for name in names)
    targets = tuple(
        Target(
            address=address,
            recipient=address,
            due=now + HOUR + number,
            attempts=2,
            error="451 4.3.0 later",
        )
        for address in to
    )
    recipients = tuple(Recipient(address) for address in to)
    envelope = Envelope(USER, recipients, now - HOUR)
    return Queued(envelope, len(BODY), State.DEFERRED, targets[0].due, targets)


async def fill(store: LmdbStore) -> None:
    now = int(time.time() * 1000)
    ids: list[int] = []
    for _ in range(0, MESSAGES, 500):
        blobs = [store.append(Kind.BLOB, b"", BODY) for _ in range(500)]
        ids += await asyncio.gather(*blobs)
    await store.applied(ids[-1])
    for first in range(0, MESSAGES, 500):
        move = moves.Move()
        for number in range(first, first + 500):
            move.join(moves.enter(ids[number], made(number, now)))
            move.refs[ids[number]] = 1
        await moves.make(store, move)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a server that has them; it is copied, never served."""
    home = tmp_path_factory.mktemp("filled")
    server = prepared(home, mode="split", more=SMALL)
    config = load(server.configuration, {})

    async def run() -> None:
        with lock(config.data):
            async with access.keeping(config) as store:
                await fill(store)

    asyncio.run(run())
    # nothing is tried meanwhile: what is seen is what the orders did
    for domain in ("far.test", "near.test"):
        server.command("queue", "suspend", domain)
    return home


def copied(filled: Path, home: Path) -> Served:
    server = Served(home, mode="split", more=SMALL)
    shutil.copytree(filled / "data", home / "data")
    server.configure()
    return server


def queue(server: Served) -> Queue:
    """All of it but notices, beside the server that runs or without one."""
    config = load(server.configuration, {})

    async def read() -> Queue:
        async with reading(config) as store:
            found = selection.entries(store)
            return {
                e.id: e.queued async for e in found if e.queued.envelope.reverse_path
            }

    return asyncio.run(read())


# what each order makes of a message


def waiting(queued: Queued) -> set[str]:
    return {
        target.address.rpartition("@")[2]
        for target in queued.targets
        if target.standing == Standing.WAITING
    }


def on_hold(before: Queued, after: Queued | None) -> bool:
    return after is not None and after == replace(before, state=State.HOLD)


def due_again(before: Queued, after: Queued | None) -> bool:
    """The far ones at once, the near ones as before."""
    if after is None or after.state != State.DEFERRED or after.via:
        return False
    now = int(time.time() * 1000)
    return all(
        new.due <= now if new.address.endswith("@far.test") else new == old
        for old, new in zip(before.targets, after.targets, strict=True)
    )


def elsewhere(before: Queued, after: Queued | None) -> bool:
    now = int(time.time() * 1000)
    return after is not None and after.via == ELSEWHERE and after.due <= now


def without_far(before: Queued, after: Queued | None) -> bool:
    """It has left the queue, or stays for the near ones alone."""
    if after is None:
        return waiting(before) == {"far.test"}
    near = [t for t in before.targets if t.address.endswith("@near.test")]
    stay = [t for t in after.targets if t.standing == Standing.WAITING]
    return bool(near) and stay == near


def let_go(before: Queued, after: Queued | None) -> bool:
    now = int(time.time() * 1000)
    return after is not None and after.state != State.HOLD and after.due <= now


@dataclass(frozen=True)
class Order:
    """words   of the command
    made       whether this is what it makes of a message
    said       what it says when all of it is done at once
    first      what is ordered before"""

    words: tuple[str, ...]
    made: Callable[[Queued, Queued | None], bool]
    said: str
    first: tuple[str, ...] = ()


ORDERS = {
    "hold": Order(("hold",), on_hold, "put on hold"),
    "release": Order(("release",), let_go, "released", ("hold",)),
    "retry": Order(("retry",), due_again, "due now"),
    "move": Order(("move", "--to", ELSEWHERE), elsewhere, "moved"),
    "delete": Order(("delete",), without_far, "deleted"),
    "bounce": Order(("bounce", "--reason", "That is over."), without_far, "bounced"),
}


def start(server: Served, words: tuple[str, ...]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        server.words("queue", *words, *ALL_MEANT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check(before: Queue, after: Queue, made: Callable[..., bool]) -> int:
    """Each message is as it was or as was ordered, and none is anything else; how many
    are as ordered."""
    assert set(after) <= set(before)
    done = 0
    for id, was in before.items():
        now = after.get(id)
        if "far.test" not in waiting(was):
            assert now == was
        elif now != was:
            assert made(was, now), (queue_id(id), was, now)
            done += 1
    return done


def told(server: Served, folder: Path) -> Counter[str]:
    """How often the sender was told of each message, by its id."""
    target = folder / "notices.mbox"
    target.unlink(missing_ok=True)
    server.command("mail", "export", USER, str(target))
    found = re.findall(rb"^Final-Log-ID: (\w+)\r?$", target.read_bytes(), re.MULTILINE)
    return Counter(id.decode() for id in found)


def wait_until_it_rests(server: Served) -> None:
    """Returns when what a keeper does after its start is done: a second of rest."""
    seen: list[tuple[float, str]] = []

    def rests() -> bool:
        found = COMMITS.search(server.read_metrics())
        now, count = time.monotonic(), found[1] if found else ""
        if not seen or seen[-1][1] != count:
            seen.append((now, count))
        return now - seen[-1][0] > 1.0

    until(rests, "nothing is written")


@pytest.mark.parametrize(
    ("name", "commits"),
    [
        *((name, 9) for name in ORDERS),
        *(pytest.param(name, 1, marks=pytest.mark.long) for name in ORDERS),
    ],
)
def test_a_keeper_killed_in_the_middle_of_an_order(
    filled: Path, tmp_path: Path, name: str, commits: int
) -> None:
    """kill -9 inside one of the commits of 4,500 changes: what was committed is done,
    the rest is as before, and the same command again does the rest."""
    order = ORDERS[name]
    server = copied(filled, tmp_path)
    if order.first:
        server.command("queue", *order.first, *ALL_MEANT)
    faults = Faults.build(tmp_path, on="index/")
    server.extra = faults.environment()
    before = queue(server)
    assert len(before) == MESSAGES
    server.start()
    try:
        wait_until_it_rests(server)
        keeper = workers(server)["keep"]
        faults.set("fdatasync", -signal.SIGKILL, first=commits, on="data.mdb")
        process = start(server, order.words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1, (out, err)
        assert "Traceback" not in err
        assert "what it had answered for is done" in err
        until(lambda: workers(server).get("keep", keeper) != keeper, "a new keeper")
        assert not faults.control.exists()
        done = check(before, queue(server), order.made)
        assert done % TOGETHER == 0
        if name == "bounce":  # notices are commits as well
            assert done < commits * TOGETHER
        else:
            assert done == (commits - 1) * TOGETHER
        until(partial(reached, server), "the new keeper answers")
        again = server.command("queue", *order.words, *ALL_MEANT)
        assert f"{MEANT - done:,} messages {order.said}" in again
        if name == "bounce":
            until(lambda: told(server, tmp_path).total() >= MEANT, "all notices")
    finally:
        server.stop()
    assert check(before, queue(server), order.made) == MEANT
    server.command("verify")
    if name == "bounce":
        meant = (queue_id(i) for i, q in before.items() if "far.test" in waiting(q))
        assert told(server, tmp_path) == Counter(meant)


def reached(server: Served) -> bool:
    with suppress(OSError), socket(AF_UNIX, SOCK_STREAM) as client:
        client.connect(str(server.home / "data" / "run" / "control.sock"))
        return True
    return False


# with and without a server


SCRIPT: Final = (
    ("list", "--limit", "3"),
    ("list", "--domain", "near.test", "--attempts", "2", "--json", "--limit", "700"),
    ("list", "--error", "LATER", "--older", "30 min", "--smaller", "1 KiB"),
    ("show", "{first}"),
    ("hold", "--recipient", "u7@far.test", "--yes"),
    ("hold", "--domain", "near.test", "--yes", "--json"),
    ("list", "--state", "hold", "--limit", "5"),
    ("release", "--limit", "100", "--state", "hold", "--yes"),
    ("retry", "--sender", "@example.test", "--limit", "1000", "--yes"),
    ("move", "--to", ELSEWHERE, "--next-hop", "smtp:far.test", "--limit", "9", "--yes"),
    ("show", "{first}"),
    ("move", "--to", "usual", "{first}", "--yes"),
    ("delete", "--domain", "far.test", "--limit", "1500", "--yes"),
    ("delete", "{first}", "--yes"),
    ("bounce", "--domain", "far.test", "--limit", "50", "--yes"),
    ("bounce", "--all", "--preview"),
    ("suspend", "Other.test"),
    ("resume", "other.test"),
    ("resume", "never.test", "--json"),
    ("move", "--to", "nonsense", "--all", "--yes"),
    ("hold", "--yes"),
    ("top", "--json"),
    ("list", "--json"),
)
AGE: Final = re.compile(r"oldest (\d+ \w+)|T\d\d:\d\d:\d\dZ")
"""What depends on when it was asked."""


def acted(server: Served) -> tuple[list[str], Queue]:
    """What the script says, and what it leaves."""
    first = queue_id(min(queue(server)))
    said = []
    for words in SCRIPT:
        line = [word.format(first=first) for word in words]
        done = subprocess.run(
            server.words("queue", *line), capture_output=True, text=True, timeout=120
        )
        out = AGE.sub("", done.stdout + done.stderr)
        said.append(f"{' '.join(line)} -> {done.returncode}\n{out}")
    return said, queue(server)


def timeless(queued: Queued) -> Queued:
    """Without the moments at which orders were given."""
    far = int(time.time() * 1000) + HOUR // 2
    targets = tuple(
        replace(target, due=target.due if target.due > far else 0)
        for target in queued.targets
    )
    return replace(queued, due=queued.due if queued.due > far else 0, targets=targets)


@pytest.mark.long
def test_orders_have_the_same_end_with_and_without_a_server(
    filled: Path, tmp_path: Path
) -> None:
    alone, serving = copied(filled, tmp_path / "a"), copied(filled, tmp_path / "s")
    said, left = acted(alone)
    serving.start()
    try:
        said_there, left_there = acted(serving)
    finally:
        serving.stop()
    for one, other in zip(said, said_there, strict=True):
        assert one == other
    ours = {id: timeless(q) for id, q in left.items() if q.envelope.reverse_path}
    theirs = {id: timeless(q) for id, q in left_there.items()}
    assert ours == theirs
    # every tenth stays for near.test, but for the first, whose rest was deleted too
    assert len(theirs) == MESSAGES - 1350 - 1 - 45
    alone.start()  # the notices that were written without a server arrive
    until(lambda: len(queue(alone)) == len(theirs), "notices in their mailbox")
    alone.stop()
    for server in (alone, serving):
        server.command("verify")
    assert told(alone, tmp_path) == told(serving, tmp_path)
    assert sum(told(alone, tmp_path).values()) == 50
