"""Next hops with faults, for a village: its mail leaves over real sockets, and time
passes only when nobody has anything else to do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fakes import FakeResolver
from test_delivery_conversation import Board, Server
from test_delivery_notices import telling
from village import DOMAIN, Sun, Village

from fastsmtp.delivery.fitting import fitted
from fastsmtp.delivery.jobs import Outcome
from fastsmtp.delivery.post import Direct
from fastsmtp.delivery.relay import Relay
from fastsmtp.net.exchangers import Search
from fastsmtp.policy.options import RelayOptions
from fastsmtp.policy.relaying import Relaying
from fastsmtp.store.memory import MemoryBlob, MemoryStore


class Hangs(Exception):
    """The server says nothing more on this connection."""


class Faulty(Server):
    """Says what its script says, but at one point it does worse.

    at     the verb whose answer is the fault: "" the greeting, "." the end of the
           data, "HANDSHAKE" what follows 220 to STARTTLS
    fault  a reply, or "hang", "close", "reset", "garbage"
    hanging  connections on which it is silent now
    """

    def __init__(self, at: str, fault: str, *offers: str) -> None:
        super().__init__(*offers, AUTH="235 2.7.0 ok")
        self.at = at
        self.fault = fault
        self.hanging = 0
        if fault[0].isdigit():
            self.say[at] = fault
            self.say["HELO"] = fault

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await super()._talk(reader, writer)
        except Hangs:
            self.hanging += 1
            with contextlib.suppress(OSError):
                await reader.read()  # until the other side has had enough
            self.hanging -= 1
            writer.close()

    def _answer(self, writer: asyncio.StreamWriter, verb: str) -> None:
        if (verb, self.at) == ("STARTTLS", "HANDSHAKE"):
            writer.write(b"220 go on\r\n")
            self._fail(writer)
        elif verb == self.at and not self.fault[0].isdigit():
            self._fail(writer)
        else:
            super()._answer(writer, verb)

    def _fail(self, writer: asyncio.StreamWriter) -> None:
        if self.fault == "hang":
            raise Hangs
        if self.fault == "close":
            raise EOFError
        if self.fault == "reset":
            linger = struct.pack("ii", 1, 0)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            raise EOFError
        said = "\xff\0 what is this?" if self.fault == "garbage" else self.fault
        writer.write(said.encode("latin-1") + b"\r\n")
        if self.at == "HANDSHAKE":
            raise EOFError


class Patience(Sun):
    """Waits for conversations. Their clock is put forward when all that is left of
    them is silent, and never before: who is not silent needs no time."""

    away: Away

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(0)
        while self.village.busy() and not self.rung:
            await asyncio.sleep(0)
            if self.away.only_silence():
                self.away.board.pass_time(1.0)
        if not self.rung:
            await self.rest(seconds)


class Away(Direct):
    """Keeper and sender are one process, and each outcome has its time."""

    def __init__(self, board: Board, servers: Collection[Server]) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.board = board
        self.servers = servers
        self.outcomes: list[tuple[float, Outcome]] = []

    @property
    def dispatcher(self) -> Any:
        return self._dispatcher

    @dispatcher.setter
    def dispatcher(self, one: Any) -> None:
        self._dispatcher = one

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append((self.board.time.now, outcome))
        super().finished(outcome)

    def only_silence(self) -> bool:
        """Whether each message that is under way is with a server that hangs."""
        hanging = (s.hanging for s in self.servers if isinstance(s, Faulty))
        return 0 < len(self.relay.active) <= sum(hanging)

    def at(self, domain: str) -> list[float]:
        """When attempts at this domain ended, by the clock of conversations."""
        return [at for at, outcome in self.outcomes if outcome.destination == domain]


class Bodies:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def open(self, id: int) -> MemoryBlob:
        return MemoryBlob(self._store.disk.blobs[id].data)


@asynccontextmanager
async def abroad(
    servers: Mapping[str, Server], search: Any = None, **rows: dict[str, Any]
) -> AsyncIterator[tuple[Village, Away]]:
    """A village whose mail for these domains goes to these servers.

    search  who finds others
    rows    more of the [[relay]] table, by the first label of the domain
    """
    async with AsyncExitStack() as stack:
        for server in servers.values():
            await stack.enter_async_context(server)
        town = Village(MemoryStore())
        await town.settle("alice", "bob", "carol")
        board = Board()
        town.alarm = alarm = Patience(town)
        telling(town)
        town.relaying = Relaying(
            (DOMAIN,),
            relay=[
                RelayOptions(
                    to=[name],
                    via=f"smtp://127.0.0.1:{server.port}",
                    **{"tls": "none"} | rows.get(name.partition(".")[0], {}),
                )
                for name, server in servers.items()
            ],
        )
        alarm.away = away = Away(board, servers.values())
        town.far = away  # type: ignore[assignment]
        away.relay = relay = Relay(
            *(board, search or Search(FakeResolver()), lambda: town.relaying),
            *(Bodies(town.store), away, fitted),
        )
        relay.open()
        try:
            yield town, away
        finally:
            await relay.close(0.05)
        town.verify()
