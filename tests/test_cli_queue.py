"""`fastsmtp queue`, as one would type it: without a server, and beside one."""

import asyncio
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from smallstore import configured
from test_queue_selection import queued, target

from fastsmtp.cells import fresh
from fastsmtp.cli import access, choosing, main, queue_top
from fastsmtp.config import load
from fastsmtp.queue import layout, moves
from fastsmtp.queue.message import (
    Envelope,
    Recipient,
    State,
    encode_envelope,
    queue_id,
)
from fastsmtp.store import counts as cells
from fastsmtp.store import keys
from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb import LmdbStore, lock

ARRIVED: Final = 1_795_493_520_000
Output = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with three messages in the queue."""
    path = configured(tmp_path)
    busy = target("a@y.test", attempts=3, error="451 4.7.1 busy")
    on_store(path, lambda store: enter(store, busy))
    both = (target("a@y.test"), target("b@z.test"))
    on_store(path, lambda store: enter(store, *both, state=State.SCHEDULED))
    on_store(path, lambda store: enter(store, target("c@z.test"), state=State.HOLD))
    return path


def on_store(file: Path, work: Callable[[LmdbStore], Any]) -> Any:
    config = load(file, {})

    async def run() -> Any:
        with lock(config.data):
            async with access.keeping(config) as store:
                return await work(store)

    return asyncio.run(run())


async def enter(store: LmdbStore, *targets: Any, **more: Any) -> int:
    id = await store.append(Kind.BLOB, b"", b"x\r\n")
    await store.applied(id)
    move = moves.enter(id, queued(*targets, arrived=ARRIVED, **more))
    move.refs[id] = 1
    await moves.make(store, move)
    return id


def do(file: Path, *words: str) -> int:
    return main(["queue", *words, "-c", str(file)])


def rows(file: Path, capsys: Output, *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert do(file, *words, "--json") == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def states(file: Path, capsys: Output) -> list[str]:
    return [row["state"] for row in rows(file, capsys, "list")]


def test_list_takes_every_filter(file: Path, capsys: Output) -> None:
    for words, count in (
        ((), 3),
        (("--sender", "s@x.test"), 3),
        (("--sender", "<>"), 0),
        (("--recipient", "@y.test"), 2),
        (("--domain", "z.test"), 2),
        (("--next-hop", "y.test"), 2),
        (("--next-hop", "smtp:y.test", "--domain", "z.test"), 0),
        (("--state", "hold"), 1),
        (("--attempts", "3"), 1),
        (("--error", "BUSY"), 1),
        (("--larger", "1 KiB"), 0),
        (("--smaller", "1 KiB"), 3),
        (("--younger", "10000 d"), 3),
        (("--older", "10000 d"), 0),
        (("--limit", "2"), 2),
    ):
        assert len(rows(file, capsys, "list", *words)) == count, words


def test_values_without_a_meaning(file: Path, capsys: Output) -> None:
    for words, why in (
        (("list", "--limit", "0"), "--limit 0 is not a number above 0"),
        (("list", "--attempts", "-1"), "--attempts -1 is not a number above 0"),
        (("list", "--larger", "much"), '--larger "much"'),
        (("list", "--younger", "soon"), '--younger "soon" is not a duration'),
        (("hold", "nonsense"), "is not a queue id"),
        (("top", "--limit", "0"), "--limit 0 is not a number above 0"),
        (("hold", "--yes"), "which messages? Nothing was put on hold"),
        (("delete", "--all"), "Not done"),  # nobody can be asked
    ):
        assert do(file, *words) == 2, words
        assert why in capsys.readouterr().err
    assert len(rows(file, capsys, "list")) == 3


def test_nothing_happens_before_it_was_shown_and_asked(
    file: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview = "3 messages, 2 domains, oldest"
    assert do(file, "delete", "--all", "--preview") == 0
    assert capsys.readouterr().out.startswith(preview)
    stdin = io.StringIO("n\n")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert do(file, "delete", "--all") == 1
    out = capsys.readouterr().out
    assert out.startswith(preview)
    assert out.endswith("Delete 3 messages? [y/N] Nothing was changed.\n")
    assert len(rows(file, capsys, "list")) == 3


def test_orders_without_a_server(file: Path, capsys: Output) -> None:
    capsys.readouterr()
    assert do(file, "hold", "--domain", "y.test", "--yes") == 0
    assert capsys.readouterr().out.endswith("2 messages put on hold\n")
    assert states(file, capsys) == ["hold"] * 3
    assert do(file, "release", "--attempts", "1", "--yes") == 0
    assert capsys.readouterr().out.endswith("1 message released\n")
    assert do(file, "move", "--to", "smtp://there.test:2525", "--all", "--yes") == 0
    capsys.readouterr()
    first = rows(file, capsys, "list")[0]["id"]
    (shown,) = rows(file, capsys, "show", first)
    assert shown["via"] == "smtp://there.test:2525"
    assert shown["targets"][0]["hop"] == "smtp:[there.test]:2525"
    assert do(file, "move", "--to", "usual", first, "--yes") == 0
    (shown,) = rows(file, capsys, "show", first)
    assert (shown["via"], shown["targets"][0]["hop"]) == ("", "smtp:y.test")
    assert do(file, "retry", "--domain", "y.test", first, "--yes") == 0
    assert do(file, "move", "--to", "nowhere", first, "--yes") == 1
    assert '"nowhere" is none of' in capsys.readouterr().err
    assert main(["verify", "-c", str(file)]) == 0


def test_what_is_put_on_hold_before_the_first_start_stays_there(
    file: Path, capsys: Output
) -> None:
    """A server that starts for the first time takes the queue for an older one's
    unless it is marked, and lets go what rested there."""
    assert do(file, "hold", "--all", "--yes") == 0
    assert on_store(file, lambda store: layout.upgrade(store, ARRIVED)) == 0
    assert set(states(file, capsys)) == {"hold"}


def test_an_older_queue_is_brought_to_this_layout_before_it_is_read(
    file: Path, capsys: Output
) -> None:
    async def age(store: LmdbStore) -> None:
        """As version 0.1 had it: no rows by destination, no counters of them."""
        for prefix in (b"d", b"g"):
            lo, hi = prefix, keys.after(prefix)
            rows = await store.scan(keys.QUEUE, lo, hi, 100)
            await store.commit(keys.QUEUE, deletes=[key for key, _ in rows])
        await store.commit(keys.QUEUE, deletes=[keys.QUEUE_LAYOUT])

    on_store(file, age)
    assert len(rows(file, capsys, "list", "--domain", "y.test")) == 2
    on_store(file, age)
    found = rows(file, capsys, "hold", "--domain", "y.test", "--yes")
    assert found[0]["found"]["messages"] == found[1]["done"] == 2


def test_mail_is_applied_as_the_server_would(
    file: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted and the server ended before it was in the index; what nobody
    here has is for the server behind us, not for the catch-all."""
    both = """[domains."example.test"]
catch_all = "all@example.test"
[relay_domains."example.test"]
next_hop = "smtp://127.0.0.1:9"
"""
    text = file.read_text()
    file.write_text(text.replace('[domains."example.test"]\n', both))
    monkeypatch.setattr(sys, "stdin", io.StringIO("only for tests\n"))
    add = ["user", "add", "all@example.test", "--password-stdin", "-c", str(file)]
    assert main(add) == 0
    config = load(file, {})

    async def accept() -> None:
        own, told = fresh(cells.SIZE), config.store
        life = LmdbStore.open(config.data, None, told, epoch=90, series=0, cells=own)
        store = await life
        to = (Recipient("somebody@example.test"),)
        wrapped = encode_envelope(Envelope("s@x.test", to, ARRIVED))
        await store.append(Kind.MAIL, wrapped, b"x\r\n")
        await store.close()

    async def apply(store: LmdbStore) -> None:
        """What comes behind it is applied behind it."""
        await store.applied(await store.append(Kind.BLOB, b"", b"x\r\n"))

    with lock(config.data):
        asyncio.run(accept())
    on_store(file, apply)
    found = rows(file, capsys, "list", "--domain", "example.test")
    assert [row["waiting"] for row in found] == [1]


def test_recipients_are_deleted_one_by_one(file: Path, capsys: Output) -> None:
    made = rows(file, capsys, "delete", "--domain", "z.test", "--yes")
    found, done = made
    assert found["found"]["messages"] == 2
    assert found["found"]["domains"] == ["y.test", "z.test"]
    assert (done["action"], done["done"], done["gone"]) == ("delete", 2, 0)
    left = rows(file, capsys, "list")
    assert [row["waiting"] for row in left] == [1, 1]
    (shown,) = rows(file, capsys, "show", left[1]["id"])
    assert [t["standing"] for t in shown["targets"]] == ["waiting", "given up"]
    assert main(["verify", "-c", str(file)]) == 0


def test_retry_leaves_what_is_on_hold_and_says_so(file: Path, capsys: Output) -> None:
    assert do(file, "hold", "--all", "--yes") == 0
    capsys.readouterr()
    assert do(file, "retry", "--domain", "y.test", "--yes") == 0
    said = capsys.readouterr()
    assert said.out.endswith("0 messages due now\n")
    assert said.err == "2 on hold (`queue release`), or due already\n"


def test_a_message_that_nobody_wrote(file: Path, capsys: Output) -> None:
    assert do(file, "delete", queue_id(99), "--yes") == 0
    assert "no such message in the queue\n" in capsys.readouterr().out


def test_what_cannot_be_read_is_named(file: Path, capsys: Output) -> None:
    async def rot(store: LmdbStore) -> None:
        await store.commit(keys.QUEUE, puts=[(keys.queued(1), b"\xc1 rot")])

    on_store(file, rot)
    assert len(rows(file, capsys, "list")) == 3
    assert do(file, "list") == 0
    assert f"{queue_id(1)} cannot be read" in capsys.readouterr().err


def test_bounce_without_a_server_gives_them_up(file: Path, capsys: Output) -> None:
    made = rows(file, capsys, "bounce", "--all", "--reason", "no", "--yes")
    assert made[1]["done"] == 3
    left = [row["sender"] for row in rows(file, capsys, "list")]
    assert "<s@x.test>" not in left


def test_suspend_and_resume(file: Path, capsys: Output) -> None:
    for words, said in (
        (("suspend", "Z.test"), "z.test: suspended\n"),
        (("suspend", "z.test"), "z.test: suspended, as before\n"),
    ):
        capsys.readouterr()
        assert do(file, *words) == 0
        assert capsys.readouterr().out == said
    top = {row["destination"]: row for row in rows(file, capsys, "top")}
    assert (top["z.test"]["suspended"], top["y.test"]["suspended"]) == (True, False)
    assert (top["z.test"]["messages"], top["z.test"]["held"]) == (2, 1)
    assert do(file, "top") == 0
    assert "suspended" in capsys.readouterr().out
    assert do(file, "resume", "z.test") == 0
    assert capsys.readouterr().out == "z.test: not suspended\n"


def test_top_is_live_on_a_terminal(
    file: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    capsys.readouterr()
    monkeypatch.setattr(queue_top.time, "sleep", pause)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert do(file, "top") == 0
    out = capsys.readouterr().out
    assert out.count(queue_top.CLEAR) == 2
    assert all(seconds >= queue_top.PAUSE for seconds in pauses)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (3599, "59 min"), (90_000, "1 d"), (7200, "2 h")],
)
def test_an_age_in_words(seconds: int, words: str) -> None:
    assert choosing.age_words(seconds) == words


def test_numbers_have_commas() -> None:
    assert choosing.counted(12_431, "message") == "12,431 messages"
    assert choosing.counted(1, "domain") == "1 domain"
