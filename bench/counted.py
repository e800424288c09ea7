"""What `fastsmtp-bench instructions` counts: a case for every compiled module.

A case is made anew for each run, so that nothing that one leaves behind is in the next.
The first run is not counted: afterwards everything that is remembered is there. Of the
others the least counts: the message log has a thread of its own to wait for.
"""

import ctypes
import gc
import ssl
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Run = Callable[[], None]
TIMES: Final = 3  # that a case is counted


@dataclass(frozen=True, slots=True)
class Case:
    """modules  compiled ones that it spends its instructions in
    make     gives what is run
    each     things that one run does: counts are per thing
    spread   that counts have without a change of the code, as a part of them: larger
             where a thread of the message log goes its own way meanwhile"""

    modules: tuple[str, ...]
    make: Callable[[], Run]
    each: int
    spread: float = 0.03


def _session(workload: str, maker: str) -> Callable[[], Run]:
    def make() -> Run:
        from fastsmtp_bench import micro_session as micro

        return micro.MAKERS[maker](micro.WORKLOADS[workload])

    return make


def _sending(maker: str) -> Callable[[], Run]:
    def make() -> Run:
        from fastsmtp_bench import micro_client as micro

        return micro.MAKERS[maker](*micro.WORKLOADS["4 KiB"])

    return make


def _commands() -> Run:
    from fastsmtp.wire.command import parse
    from fastsmtp_bench.micro_command import LINES

    lines = list(LINES.values()) * 100

    def run() -> None:
        for line in lines:
            parse(line)

    return run


def _received() -> Run:
    from fastsmtp.wire.header import date, origin, received

    clause = origin("mail.example.org", "192.0.2.7")

    def run() -> None:
        for n in range(500):
            at = date(1_795_493_520 + n)
            received(clause, "mx.test", "ESMTP", "0" * 13, "bob@example.test", at)

    return run


def _scan(size: int, times: int) -> Callable[[], Run]:
    def make() -> Run:
        from fastsmtp.wire.scan import BodyScanner
        from fastsmtp_bench.micro_framing import message

        data = message(size)

        def run() -> None:
            for _ in range(times):
                BodyScanner().feed(data)

        return run

    return make


TEXT: Final = "Der flinke braune Fuchs springt über den faulen Hund.\r\n".encode() * 72


def _survey() -> Run:
    from fastsmtp.wire.transfer import Survey

    def run() -> None:
        for _ in range(200):
            found = Survey()
            found.feed(TEXT)
            found.finish()

    return run


def _encoded() -> Run:
    from fastsmtp.wire.transfer import based, find_delimiter, quoted

    def run() -> None:
        for _ in range(50):
            find_delimiter(TEXT, 0, (b"boundary",), True)
            quoted(TEXT)
            based(TEXT)

    return run


def _envelopes() -> Run:
    from fastsmtp.queue.encoded import encode_mail, queue_id

    to = ["bob@example.test"]

    def run() -> None:
        for n in range(500):
            queue_id(n << 20)
            encode_mail("a@b.test", to, 1_795_493_520_000, 30, "7BIT", "192.0.2.1", "x")

    return run


def _sieved() -> Run:
    """A page of the queue, half of which fits."""
    from fastsmtp.queue.message import encode_queued
    from fastsmtp.queue.selection import Filter
    from fastsmtp.queue.sieve import Sieve
    from fastsmtp_bench.fill_queue import Plan, entry

    plan = Plan(500, 2, "later")
    rows = [encode_queued(entry(n, plan, 1_795_493_520_000)) for n in range(500)]
    sieve = Sieve(Filter(domain="dest1.example", error="try again"))

    def run() -> None:
        for row in rows:
            sieve.fits(row)

    return run


def _departed() -> Run:
    """Messages that a next hop has taken."""
    from fastsmtp.delivery.departed import Departed
    from fastsmtp.queue.message import (
        Envelope,
        Queued,
        Recipient,
        State,
        Target,
        encode_queued,
    )
    from fastsmtp.smtp.letter import Answer

    at, to = 1_795_493_520_000, "bob@far.test"
    envelope = Envelope("s@x.test", (Recipient(to),), at, client="[192.0.2.1]")
    targets = (Target(to, to, due=at),)
    raw = encode_queued(Queued(envelope, 5000, State.SCHEDULED, at, targets))
    answers = {to: Answer(250, "2.0.0", "taken", "body")}

    def run() -> None:
        departed = Departed()
        for id in range(1, 501):
            assert departed.take(id, raw, "far.test", answers) == at

    return run


def _sums() -> Run:
    from fastsmtp.queue.listing import sums_at
    from fastsmtp.queue.moves import MINUTE, Counted
    from fastsmtp.store import keys

    now = 28_333_333 * MINUTE
    value = Counted(3, 5000).encode()
    rows = [(keys.arrivals(b"d", now // MINUTE - n), value) for n in range(500)]

    def run() -> None:
        sums_at(now).add(rows)

    return run


def _reading(maker: str) -> Callable[[], Run]:
    def make() -> Run:
        from fastsmtp_bench import micro_pop3 as micro

        return micro.MAKERS[maker]()

    return make


class _Traced:
    """What becomes of a message, written down."""

    def __init__(self) -> None:
        from fastsmtp.trace.ring import Trace

        self.place = tempfile.TemporaryDirectory()
        self.trace = Trace(str(Path(self.place.name) / "t"), 1 << 20)

    def __call__(self) -> None:
        to = ("bob@example.test", "example.test", "mx.example.test 192.0.2.1")
        for id in range(1, 501):
            self.trace.applied(id, 1, 0)
            self.trace.attempt(id, *to, 250, "2.0.0 Ok", 12)

    def close(self) -> None:
        self.trace.close()
        self.place.cleanup()


class _Append:
    """Copies into native memory; nothing is flushed, so no thread of the log runs."""

    def __init__(self) -> None:
        from fastsmtp.store.msglog import LogWriter

        self.place = tempfile.TemporaryDirectory()
        # so many records wake the thread that this never does
        self.log = LogWriter(self.place.name, 1, 7, 64 << 20, 1, 1000)
        self.body = b"x" * 4096
        for _ in range(4):  # until each of its buffers has its size
            self()
            self.log.sync()

    def __call__(self) -> None:
        for id in range(40):
            self.log.append(id, 1, b"e" * 120, b"h" * 250, self.body)

    def close(self) -> None:
        """Its thread must be gone: callgrind counts by thread."""
        self.log.close()
        self.place.cleanup()


def _records() -> Run:
    from fastsmtp.store import record
    from fastsmtp.store.msglog import LogWriter

    with tempfile.TemporaryDirectory() as place:
        with LogWriter(place, 1, 7, 64 << 20, 1, 16) as log:
            for id in range(200):
                log.append(id, 1, b"e" * 120, b"h" * 250, b"x" * 4096)
            log.sync()
        [path, *_] = sorted(Path(place).glob("*.log"))
        data = path.read_bytes()
    salt = record.read_segment_header(data).salt
    rest = data[64:]

    def run() -> None:
        found, _, _ = record.scan(rest, 64, salt, len(data))
        assert len(found) >= 200

    return run


def _apply() -> Run:
    """From a log into LMDB: the keeper's whole work for a message."""
    from fastsmtp.store.options import StoreOptions
    from fastsmtp_bench.micro_index import apply_all, write_log

    place = tempfile.TemporaryDirectory()
    told = write_log(Path(place.name) / "log", 100, 500)

    def run() -> None:
        # valgrind has no place for a map of a tebibyte
        apply_all(Path(place.name), 100, told, StoreOptions(map_size=1 << 30))
        place.cleanup()

    return run


class _Wire:
    """A transport in memory."""

    def __init__(self) -> None:
        self.sent = bytearray()

    def write(self, data: Any) -> None:
        self.sent += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 4711) if name == "peername" else default

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def _sealed() -> Run:
    """Octets of TLS 1.3 into a connection, and an answer out of it."""
    from fastsmtp.net.clock import Clock
    from fastsmtp.net.connection import Connection, shared_buffer
    from fastsmtp.net.selfsigned import make
    from fastsmtp.net.tls import Tls

    class Echo(Connection):
        def buffer_updated(self, nbytes: int) -> None:
            assert self.transport
            self.transport.write(b"250 2.0.0 Ok\r\n")

    with tempfile.TemporaryDirectory() as name:
        pair = Path(name) / "c.pem", Path(name) / "k.pem"
        make(*pair, ["mx.example.test"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = client.wrap_bio(incoming, outgoing)
    tls = Tls(context, Clock(), 30.0, lambda *_: None)
    protocol: Any = tls.accept(lambda: Echo(shared_buffer()))()
    wire = _Wire()
    protocol.connection_made(wire)

    def pass_on() -> None:
        data = outgoing.read()
        while data:
            room = protocol.get_buffer(len(data))
            n = min(len(room), len(data))
            room[:n] = data[:n]
            protocol.buffer_updated(n)
            data = data[n:]
        incoming.write(bytes(wire.sent))
        wire.sent.clear()

    for _ in range(4):
        try:
            talk.do_handshake()
        except ssl.SSLWantReadError:
            pass_on()
    pass_on()

    def run() -> None:
        for _ in range(100):
            talk.write(b"x" * 4096)
            pass_on()
            talk.read(4096)

    return run


CASES: Final[dict[str, Case]] = {
    "session, 4 KiB": Case(("smtp.session",), _session("4 KiB", "session"), 500),
    "guest, 4 KiB": Case(
        ("serve.guest", "serve.reception", "net.connection"),
        _session("4 KiB", "guest"),
        500,
    ),
    "guest, pipelined": Case(
        ("serve.guest",), _session("4 KiB, pipelined", "guest"), 500
    ),
    "guest, 10 recipients": Case(
        ("serve.guest",), _session("4 KiB, 10 recipients", "guest"), 500
    ),
    "client, 4 KiB": Case(("smtp.client",), _sending("engine"), 500),
    "link, 4 KiB": Case(("delivery.link",), _sending("link"), 500),
    "command lines": Case(("wire.command",), _commands, 500),
    "received field": Case(("wire.header",), _received, 500),
    "body, 4 KiB": Case(("wire.scan",), _scan(4096, 200), 200),
    "body, 1 MiB": Case(("wire.scan",), _scan(1 << 20, 2), 2),
    "survey, 4 KiB": Case(("wire.transfer",), _survey, 200),
    "encoded, 4 KiB": Case(("wire.transfer",), _encoded, 50),
    "envelope": Case(("queue.encoded",), _envelopes, 500),
    "trace": Case(("trace.ring",), _Traced, 500),
    "queue, look for": Case(("queue.sieve",), _sieved, 500),
    "queue, add up": Case(("queue.sums",), _sums, 500),
    "queue, taken out": Case(("delivery.departed",), _departed, 500),
    "pop3, RETR": Case(("pop3.session",), _reading("engine"), 500),
    # what malloc does for each piece is not always the same
    "pop3, 4 KiB given": Case(("pop3.body",), _reading("giver"), 500, 0.1),
    "pop3, 4 KiB and driver": Case(("serve.fetcher",), _reading("fetcher"), 500),
    "log, append": Case(("store.msglog",), _Append, 40),
    "log, scan": Case(("store.record",), _records, 200),
    "apply": Case(
        ("store.lmdb.gather", "delivery.inboxes", "delivery.tally"), _apply, 500, 0.2
    ),
    "tls, 4 KiB and a reply": Case(("net.tls",), _sealed, 100),
}


def main(library: str, names: list[str]) -> None:
    """Runs the cases, each between two marks for callgrind."""
    marks = ctypes.CDLL(library)
    for name in names:
        case = CASES[name]
        for time in range(1 + TIMES):
            run = case.make()
            gc.collect()
            gc.disable()
            if time:
                marks.begin()
            run()
            if time:
                marks.end(name.encode())
            gc.enable()
            _close(run)


def _close(run: Run) -> None:
    getattr(run, "close", lambda: None)()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
