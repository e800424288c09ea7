"""The log: what a line says, what it never says, and who must never wait for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastsmtp import facts, report
from fastsmtp.errors import Refused
from fastsmtp.report import Peer, Report

PEER = Peer(7, "192.0.2.1")
NO_USER = Refused(550, "5.1.1", "No such user", "unknown_recipient")


class Pipe:
    """A pipe as a log: `lines` is what a reader of it gets."""

    def __init__(self) -> None:
        self.end, self.writer = os.pipe()
        os.set_blocking(self.end, False)

    def octets(self) -> bytes:
        data = b""
        try:
            while piece := os.read(self.end, 65536):
                data += piece
        except BlockingIOError:
            pass
        return data

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.octets().decode().splitlines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.end)
    os.close(pipe.writer)


@pytest.fixture
def log(pipe: Pipe) -> Report:
    return Report(pipe.writer, "debug", "receive-1")


def accept(log: Report, sender: str = "a@example.org") -> None:
    log.message_accepted(PEER, "0000000000001", sender, 2, 4096, 1500)


def test_an_accepted_message(log: Report, pipe: Pipe) -> None:
    accept(log)
    log.flush()
    (line,) = pipe.lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "message_accepted",
        "level": "info",
        "process": "receive-1",
        "id": "0000000000001",
        "session": 7,
        "client": "192.0.2.1",
        "sender": "a@example.org",
        "recipients": 2,
        "size": 4096,
        "microseconds": 1500,
        "tls": "",
    }


def everything(log: Report) -> None:
    accept(log)
    log.session_opened(PEER)
    log.session_closed(PEER, "quit")
    log.message_refused(PEER, "1", "a@b", Refused(554, "5.6.0", "No", "content", "why"))
    log.recipient_refused(PEER, "1", "x@y", NO_USER)
    log.connection_refused("192.0.2.9", "limit")
    log.logged_in(PEER, "a@b", "PLAIN")
    log.login_failed(PEER, "a@b", "PLAIN", "blocked")
    log.delivery_deferred("1", "x@y", "quota", 3, 1e9)
    log.delivery_failed("1", "x@y", "gone")
    log.store_trouble("log", "No space left on device")
    log.store_recovered("log", "")
    log.server("listening", "127.0.0.1:25")
    log.config_refused("f.toml", "line 3")
    log.worker_started("keep", 1, 9, 4)
    log.worker_died("keep", 1, 9, -9)
    log.fault("keeper", ValueError("x"))
    log.flush()


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", 17), ("info", 15), ("warning", 6), ("error", 4)],
)
def test_levels(pipe: Pipe, level: report.Level, expected: int) -> None:
    everything(Report(pipe.writer, level))
    lines = pipe.lines()
    ranks = [report.LEVELS.index(line["level"]) for line in lines]
    assert min(ranks) >= report.LEVELS.index(level)
    assert len(lines) == expected


def test_questions_about_nobody_are_bounded_as_refusals(
    log: Report, pipe: Pipe
) -> None:
    """Whoever tries names must not fill the disk; what is there is always told."""

    def asked(name: str, exists: str, reply: str) -> None:
        about = ("0000000000001", PEER.session, PEER.client, name, "smtp:back:25")
        line = facts.RecipientAsked("", "info", "", *about, exists, reply, 1500)
        log.recipient_asked(line)

    for n in range(70):
        asked(f"n{n}@x.test", "no", "550 5.1.1 nobody")
    asked("bob@x.test", "yes", "250 ok")
    log.flush()
    lines = [line for line in pipe.lines() if line["event"] == "recipient_asked"]
    assert [line["exists"] for line in lines] == ["no"] * 60 + ["yes"]
    assert {line["reply"] for line in lines} == {"550 5.1.1 nobody", "250 ok"}
    assert lines[0]["process"] == "receive-1"
    assert lines[0]["time"].endswith("Z")
    assert lines[0]["recipient"] == "n0@x.test"
    assert (lines[0]["id"], lines[0]["client"]) == ("0000000000001", "192.0.2.1")
    assert (lines[0]["hop"], lines[0]["microseconds"]) == ("smtp:back:25", 1500)


def test_times_read_like_times(log: Report, pipe: Pipe) -> None:
    log.delivery_deferred("1", "x@y", "quota", 1, 1_000_000_000.25)
    log.flush()
    assert pipe.lines()[0]["due"] == "2001-09-09T01:46:40.250Z"


def test_a_login_is_told_and_a_failed_one_without_what_may_be_a_password(
    log: Report, pipe: Pipe
) -> None:
    log.logged_in(PEER, "alice@example.test", "PLAIN")
    log.login_failed(PEER, "alice@example.test", "PLAIN", "bad_password")
    log.login_failed(PEER, "s3cret", "LOGIN", "unknown_user")
    log.flush()
    told = [(x["event"], x.get("login", x.get("name"))) for x in pipe.lines()]
    assert told == [
        ("logged_in", "alice@example.test"),
        ("login_failed", "alice@example.test"),
        ("login_failed", ""),
    ]


@pytest.mark.parametrize(
    "evil",
    [
        'a"}\n{"event":"forged"}',
        "a\r\nb\0\x1b[2J\x7f",
        "\u2028\u2029\u0085\u202e",
        "\udc80\ud800",
        "x" * 10_000,
        "\x01" * 10_000,
        "\u0001\u2028" * 500,
    ],
)
def test_no_text_makes_a_second_or_a_long_line(
    log: Report, pipe: Pipe, evil: str
) -> None:
    log.message_refused(PEER, "1", evil, Refused(554, "5.6.0", "No", "content", evil))
    log.flush()
    data = pipe.octets()
    assert data.count(b"\n") == len(data.decode().splitlines()) == 1
    assert json.loads(data)["event"] == "message_refused"
    assert len(data) <= select.PIPE_BUF


def test_a_fault_shows_places_and_no_contents(log: Report, pipe: Pipe) -> None:
    body = b"secret body"
    try:
        body.decode().index("x" * 999)
    except ValueError as error:
        log.fault("decode", error)
    (line,) = pipe.lines()  # errors are written at once
    assert line["about"] == "ValueError: substring not found"
    assert "test_report.py" in line["trace"][-1]
    assert "secret" not in json.dumps(line)


def test_errors_bring_what_stands_before_them(log: Report, pipe: Pipe) -> None:
    accept(log)
    assert pipe.lines() == []
    log.store_trouble("log", "No space left on device")
    assert [x["event"] for x in pipe.lines()] == ["message_accepted", "store_trouble"]


def test_a_full_batch_is_written(log: Report, pipe: Pipe) -> None:
    for _ in range(report.BATCH - 1):
        accept(log)
    assert pipe.lines() == []
    accept(log)
    assert len(pipe.lines()) == report.BATCH


def test_a_lone_line_is_written_soon(
    log: Report, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "DELAY", 0.001)

    async def wait() -> None:
        accept(log)
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.end, readable.set)
        await asyncio.wait_for(readable.wait(), 5)

    asyncio.run(wait())
    assert len(pipe.lines()) == 1


def test_pieces_are_whole_lines_within_pipe_buf(
    log: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda _, data: pieces.append(data) or len(data))
    for _ in range(500):
        accept(log, "\x02" * 300)
    log.flush()
    assert sum(piece.count(b"\n") for piece in pieces) == 500
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert max(map(len, pieces)) <= select.PIPE_BUF


def test_a_reader_that_stops_never_stalls(log: Report, pipe: Pipe) -> None:
    for _ in range(20_000):
        accept(log)
    log.flush()
    assert log._octets <= report.BACKLOG
    seen = []
    while lines := pipe.lines():
        seen += lines
        log.flush()
    log.flush()
    seen += pipe.lines()
    left_out = [x for x in seen if x["event"] == "lines_left_out"]
    accepted = [x for x in seen if x["event"] == "message_accepted"]
    assert len(accepted) + sum(x["lines"] for x in left_out) == 20_000
    assert left_out


def test_a_reader_that_is_gone_is_no_fault(pipe: Pipe) -> None:
    end, writer = os.pipe()
    os.close(end)
    log = Report(writer)
    log.worker_died("keep", 1, 2, 3)
    accept(log)
    log.flush()
    os.close(writer)


class Minutes:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 600.0
        monkeypatch.setattr(report.time, "time", lambda: self.now)


def test_a_client_that_floods_is_silenced(
    log: Report, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Minutes(monkeypatch)
    for _ in range(report.REFUSALS + 40):
        log.recipient_refused(PEER, "1", "x@y", NO_USER)
    log.recipient_refused(Peer(8, "192.0.2.2"), "1", "x@y", NO_USER)
    log.flush()
    events = [x["event"] for x in pipe.lines()]
    assert events == ["recipient_refused"] * (report.REFUSALS + 1)
    clock.now += 60
    log.recipient_refused(PEER, "1", "x@y", NO_USER)
    log.flush()
    told, line = pipe.lines()
    assert (told["event"], told["lines"], told["clients"]) == ("lines_left_out", 40, 1)
    assert line["event"] == "recipient_refused"


def test_facts_of_tls(log: Report, pipe: Pipe) -> None:
    log.certificates_loaded(["mx.example.test", "example.org"])
    log.handshake_failed("192.0.2.1", "smtp", "failed", "HTTP_REQUEST")
    log.certificates_refused("tls.key: cannot be read: Permission denied")
    loaded, handshake, refused = pipe.lines()
    assert (loaded["event"], loaded["level"]) == ("certificates", "info")
    assert loaded["about"] == "mx.example.test, example.org"
    assert (handshake["event"], handshake["client"]) == ("handshake", "192.0.2.1")
    assert (handshake["result"], handshake["cause"]) == ("failed", "HTTP_REQUEST")
    assert refused["level"] == "error"
    assert refused["about"].endswith("Permission denied")


def test_clients_remembered_are_bounded(
    log: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    Minutes(monkeypatch)
    monkeypatch.setattr(report, "CLIENTS", 10)
    for number in range(1000):
        log.connection_refused(f"192.0.2.{number}", "limit")
    assert len(log._refusals) == 11


def test_the_backlog_of_a_quiet_minute_is_told(
    log: Report, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Minutes(monkeypatch)
    for _ in range(report.REFUSALS + 1):
        log.connection_refused("192.0.2.1", "limit")
    log.flush()
    pipe.octets()
    clock.now += 61
    log.flush()
    assert [x["event"] for x in pipe.lines()] == ["lines_left_out"]


def test_a_line_is_quick(benchmark: Any) -> None:
    log = Report(os.open(os.devnull, os.O_WRONLY))
    benchmark(accept, log)


def events(kind: type[facts.Line]) -> Iterator[str]:
    """The names of all kinds of line that are written."""
    for one in kind.__subclasses__():
        if one.__subclasses__():
            yield from events(one)
        else:
            yield str(one.__struct_config__.tag)


def test_operators_can_look_every_event_up() -> None:
    page = (Path(__file__).parent.parent / "docs" / "watch.md").read_text()
    names = list(events(facts.Line))
    assert len(names) > 10
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_fact_is_told_by_somebody() -> None:
    """docs/watch.md promises each of them to whoever reads the log."""
    root = Path(report.__file__).parent
    sources = [*root.rglob("*.py"), *(root.parent / "ext").rglob("*.p[yx]*")]
    text = "".join(path.read_text() for path in sources if path.name != "report.py")
    facts = [name for name in vars(Report) if not name.startswith("_")]
    assert len(facts) > 20
    assert [name for name in facts if not re.search(rf"\.{name}\b", text)] == []
