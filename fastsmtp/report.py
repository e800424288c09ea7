"""The log: one method per fact worth a line, one JSON object a line on standard output.

Laws
- A line holds no body, no password and no reply text of a stranger beyond `TEXT_MOST`
  characters; JSON and `clean` leave no way to forge a line.
- Lines are encoded and written together: when the first of them is `DELAY` old, when
  there are `BATCH`, and at once from level error upwards.
- What is written at once is whole lines and at most PIPE_BUF octets, so that several
  processes can share one pipe.
- A reader that does not keep up never stalls the server: what exceeds `BACKLOG` octets
  is dropped and counted in a line of its own.
- A client that causes more than `REFUSALS` refusals in a minute gets no more lines;
  how many were left out is told when the minute is over.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from fastsmtp.errors import Refused
from fastsmtp.facts import (
    LEVELS,
    Certificates,
    ClientKnown,
    ConnectionRefused,
    Delivered,
    DeliveryDeferred,
    DeliveryFailed,
    Fault,
    Handshake,
    Level,
    Line,
    LinesLeftOut,
    LoggedIn,
    LoginFailed,
    MailRemoved,
    MessageAccepted,
    MessageRefused,
    Note,
    NoticeSent,
    Peer,
    RecipientAsked,
    RecipientRefused,
    Server,
    SessionClosed,
    SessionOpened,
    StoreRecovered,
    StoreTrouble,
    WorkerDied,
    WorkerStarted,
    clean,
)

__all__ = ["LEVELS", "Level", "Peer", "Report", "stamp"]

DELAY: Final = 0.1  # seconds a line may wait
BATCH: Final = 64  # lines
BACKLOG: Final = 1024 * 1024  # octets that wait for a slow reader
REFUSALS: Final = 60  # lines about one client in one minute
CLIENTS: Final = 10_000  # clients told apart in one minute


class Report:
    """The log of one process.

    descriptor  where lines go; shared with other processes
    level       lines below it are not made
    process     says which process of the server speaks: `receive-1`
    """

    def __init__(
        self, descriptor: int = 1, level: Level = "info", process: str = "all"
    ) -> None:
        self._descriptor = descriptor
        self._process = process
        self._lines: list[Line] = []
        self._waiting: deque[bytes] = deque()  # encoded, not yet written
        self._octets = 0  # of `_waiting`
        self._lost = 0
        self._stamp_at, self._stamp = 0, ""
        self._encoder = msgspec.json.Encoder()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._timer: asyncio.TimerHandle | None = None
        self._minute = 0
        self._refusals: dict[str, int] = {}
        self.set_level(level)

    def set_level(self, level: Level) -> None:
        rank = LEVELS.index(level)
        self._debug, self._info = rank <= 0, rank <= 1
        self._warning = rank <= 2

    # facts of a session

    def session_opened(self, peer: Peer) -> None:
        if self._debug:
            self._add(
                SessionOpened(
                    self._now(),
                    "debug",
                    self._process,
                    peer.session,
                    peer.client,
                )
            )

    def session_closed(self, peer: Peer, reason: str) -> None:
        """reason: a word of PARTINGS, as the metric of disconnects has it."""
        if self._debug:
            self._add(
                SessionClosed(
                    self._now(),
                    "debug",
                    self._process,
                    peer.session,
                    peer.client,
                    reason,
                )
            )

    def message_accepted(
        self,
        peer: Peer,
        id: str,
        sender: str,
        recipients: int,
        size: int,
        microseconds: int,
    ) -> None:
        """`microseconds` from MAIL until it was durable."""
        if self._info:
            self._add(
                MessageAccepted(
                    self._now(),
                    "info",
                    self._process,
                    id,
                    peer.session,
                    peer.client,
                    clean(sender),
                    recipients,
                    size,
                    microseconds,
                    peer.tls,
                )
            )

    def message_refused(
        self, peer: Peer, id: str, sender: str, refused: Refused
    ) -> None:
        if self._info and self._bearable(peer.client):
            self._add(
                MessageRefused(
                    self._now(),
                    "info",
                    self._process,
                    id,
                    peer.session,
                    peer.client,
                    clean(sender),
                    refused.code,
                    refused.enhanced,
                    refused.reason,
                    clean(refused.cause or refused.text),
                )
            )

    def recipient_refused(
        self, peer: Peer, id: str, recipient: str, refused: Refused
    ) -> None:
        if self._info and self._bearable(peer.client):
            self._add(
                RecipientRefused(
                    self._now(),
                    "info",
                    self._process,
                    id,
                    peer.session,
                    peer.client,
                    clean(recipient),
                    refused.code,
                    refused.enhanced,
                    refused.reason,
                )
            )

    def recipient_asked(self, line: RecipientAsked) -> None:
        """A next hop was asked for a client: what it said. `time` and `process` are
        written here."""
        if self._info and (line.exists == "yes" or self._bearable(line.client)):
            line.time, line.process = self._now(), self._process
            self._add(line)

    def cannot_ask(self, hop: str, cause: str) -> None:
        """It is left alone for a while, and nobody knows whom it has."""
        if self._warning:
            what = "a next hop cannot be asked whom it has"
            self._note(Server, "warning", what, f"{hop}: {cause}")

    def client_known(self, peer: Peer, name: str, score: float, lists: str) -> None:
        """`name` by its own DNS; `lists` that have it, with what each counts."""
        if self._info:
            self._add(
                ClientKnown(
                    self._now(),
                    "info",
                    self._process,
                    peer.session,
                    peer.client,
                    name,
                    score,
                    lists,
                )
            )

    def connection_refused(self, client: str, reason: str) -> None:
        if self._info and self._bearable(client):
            self._add(
                ConnectionRefused(
                    self._now(),
                    "info",
                    self._process,
                    client,
                    reason,
                )
            )

    def handshake_failed(
        self, client: str, listener: str, result: str, cause: str
    ) -> None:
        """`result` is one of net.counts.RESULTS."""
        if self._info and self._bearable(client):
            self._add(
                Handshake(
                    self._now(),
                    "info",
                    self._process,
                    client,
                    listener,
                    result,
                    clean(cause),
                )
            )

    def not_from_a_proxy(self, address: str, why: str) -> None:
        """A connection from a network of proxies did not say whom it is for."""
        if self._warning and self._bearable(address):
            self._note(Server, "warning", "connection without a PROXY header", why)

    def logged_in(self, peer: Peer, login: str, mechanism: str) -> None:
        if self._info:
            self._add(
                LoggedIn(
                    self._now(),
                    "info",
                    self._process,
                    peer.session,
                    peer.client,
                    clean(login),
                    mechanism,
                    peer.tls,
                )
            )

    def login_failed(self, peer: Peer, name: str, mechanism: str, why: str) -> None:
        """`name` is told only when it looks like an address: people type passwords
        where a name belongs."""
        if self._info and self._bearable(peer.client):
            self._add(
                LoginFailed(
                    self._now(),
                    "info",
                    self._process,
                    peer.session,
                    peer.client,
                    clean(name) if "@" in name else "",
                    mechanism,
                    why,
                )
            )

    def mail_removed(self, peer: Peer, login: str, messages: int) -> None:
        """What was marked was removed at QUIT."""
        if self._info:
            self._add(
                MailRemoved(
                    self._now(),
                    "info",
                    self._process,
                    peer.session,
                    peer.client,
                    clean(login),
                    messages,
                )
            )

    # facts of delivery

    @property
    def at_info(self) -> bool:
        """Whether what is of level "info" is written at all."""
        return self._info

    def delivered(
        self, id: str, recipient: str, hop: str, host: str, reply: str
    ) -> None:
        """The queue has got rid of it: to a mailbox (`hop` "local"), or a next hop."""
        if self._info:
            self._add(
                Delivered(
                    self._now(),
                    "info",
                    self._process,
                    id,
                    clean(recipient),
                    hop,
                    clean(host),
                    clean(reply),
                )
            )

    def delivery_deferred(
        self, id: str, recipient: str, cause: str, attempts: int, due: float
    ) -> None:
        """`due`: next attempt, seconds of the wall clock."""
        if self._info:
            self._add(
                DeliveryDeferred(
                    self._now(),
                    "info",
                    self._process,
                    id,
                    clean(recipient),
                    clean(cause),
                    attempts,
                    stamp(int(due * 1000)),
                )
            )

    def delivery_failed(self, id: str, recipient: str, cause: str) -> None:
        if self._warning:
            self._add(
                DeliveryFailed(
                    self._now(),
                    "warning",
                    self._process,
                    id,
                    clean(recipient),
                    clean(cause),
                )
            )

    def notice_sent(self, id: str, notice: str, kind: str, recipient: str) -> None:
        """Somebody is told what became of a message."""
        if self._info:
            self._add(
                NoticeSent(
                    self._now(),
                    "info",
                    self._process,
                    id,
                    notice,
                    kind,
                    clean(recipient),
                )
            )

    # facts of the store

    def store_trouble(self, what: str, cause: str) -> None:
        """The store cannot do its work; mail is answered 452 meanwhile."""
        self._note(StoreTrouble, "error", what, cause)

    def store_recovered(self, what: str, cause: str) -> None:
        if self._warning:
            self._note(StoreRecovered, "warning", what, cause)

    # facts of the server

    def server(self, what: str, about: str = "") -> None:
        """The server's own life: `listening` and where, `draining` and why, …"""
        if self._info:
            self._note(Server, "info", what, about)

    def accepting(self, listener: str, why: str) -> None:
        """Connections are left waiting, and why; empty: they come in again."""
        if why:
            self._note(Server, "error", "accepting pauses", f"{listener}: {why}")
        elif self._warning:
            self._note(Server, "warning", "accepting goes on", listener)

    def config_refused(self, path: str, problem: str) -> None:
        """A reload failed; the configuration in use stays."""
        self._note(Server, "error", "configuration refused", f"{path}: {problem}")

    def certificates_loaded(self, names: Sequence[str]) -> None:
        """They serve new connections from now on."""
        if self._info:
            self._note(Certificates, "info", "certificates loaded", ", ".join(names))

    def certificates_refused(self, why: str) -> None:
        """They cannot be used; those that were read before stay."""
        self._note(Certificates, "error", "certificates refused, old ones stay", why)

    def worker_started(self, role: str, slot: int, pid: int, epoch: int) -> None:
        if self._info:
            self._add(
                WorkerStarted(
                    self._now(),
                    "info",
                    self._process,
                    role,
                    slot,
                    pid,
                    epoch,
                )
            )

    def worker_died(self, role: str, slot: int, pid: int, status: int) -> None:
        """It will be replaced. A negative status is the signal that ended it."""
        self._add(
            WorkerDied(
                self._now(),
                "error",
                self._process,
                role,
                slot,
                pid,
                status,
            )
        )
        self.flush()

    def fault(self, where: str, error: BaseException) -> None:
        """Something failed that has no line of its own."""
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        self._add(
            Fault(
                self._now(),
                "error",
                self._process,
                where,
                clean(f"{type(error).__name__}: {error}"),
                [f"{f.filename[-60:]}:{f.lineno} {f.name[:40]}" for f in frames],
            )
        )
        self.flush()

    # how lines are written

    def _note(self, fact: type[Note], level: Level, what: str, about: str) -> None:
        self._add(
            fact(
                self._now(),
                level,
                self._process,
                clean(what),
                clean(about),
            )
        )
        if level == "error":
            self.flush()

    def _now(self) -> str:
        at = time.time_ns() // 1_000_000
        if at != self._stamp_at:
            self._stamp_at, self._stamp = at, stamp(at)
        return self._stamp

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        if len(self._lines) >= BATCH:
            self.flush()
        elif self._timer is None:
            self._set_timer()

    def _set_timer(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # before the loop runs and after: `flush` is called at the end
        self._timer = loop.call_later(DELAY, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self.flush()

    def flush(self, patience: float = 0.0) -> None:
        """Write what is there, waiting at most `patience` seconds for a slow reader."""
        self._tell_left_out()
        if self._lines:
            data = self._encoder.encode_lines(self._lines)
            self._lines.clear()
            self._keep(data)
        deadline = time.monotonic() + patience
        while self._waiting:
            left = max(0.0, deadline - time.monotonic())
            if not self._poll.poll(left * 1000) or not self._write_one():
                break
        if self._waiting and self._timer is None:
            self._set_timer()

    def _keep(self, data: bytes) -> None:
        """Cut `data` where lines end, in pieces of at most PIPE_BUF octets."""
        if self._octets + len(data) > BACKLOG:
            self._lost += data.count(b"\n")
            return
        self._octets += len(data)
        start = 0
        while len(data) - start > select.PIPE_BUF:
            end = data.rindex(b"\n", start, start + select.PIPE_BUF) + 1
            self._waiting.append(data[start:end])
            start = end
        self._waiting.append(data[start:])

    def _write_one(self) -> bool:
        piece = self._waiting[0]
        try:
            written = os.write(self._descriptor, piece)
        except BlockingIOError:
            return False
        except OSError:  # nobody reads any more; the server goes on without a log
            self._lost += sum(piece.count(b"\n") for piece in self._waiting)
            self._waiting.clear()
            self._octets = 0
            return False
        self._octets -= written
        if written == len(piece):
            self._waiting.popleft()
        else:
            self._waiting[0] = piece[written:]
        return True

    def _tell_left_out(self) -> None:
        if self._lost and self._octets < BACKLOG // 2:
            self._leave_out(self._lost, 0, "the log's reader was too slow")
            self._lost = 0
        if self._refusals and time.time() // 60 != self._minute:
            self._new_minute()

    def _leave_out(self, lines: int, clients: int, reason: str) -> None:
        self._lines.append(
            LinesLeftOut(
                self._now(),
                "warning",
                self._process,
                lines,
                clients,
                reason,
            )
        )

    def _bearable(self, client: str) -> bool:
        """May another refusal of this client have a line?"""
        if time.time() // 60 != self._minute:
            self._new_minute()
        if client not in self._refusals and len(self._refusals) >= CLIENTS:
            client = "others"
        count = self._refusals.get(client, 0) + 1
        self._refusals[client] = count
        return count <= REFUSALS

    def _new_minute(self) -> None:
        noisy = [n - REFUSALS for n in self._refusals.values() if n > REFUSALS]
        self._refusals.clear()
        self._minute = int(time.time() // 60)
        if noisy:
            self._leave_out(sum(noisy), len(noisy), "too many refusals of a client")


def stamp(milliseconds: int) -> str:
    """RFC 3339 in UTC."""
    seconds, rest = divmod(milliseconds, 1000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{rest:03}Z"
