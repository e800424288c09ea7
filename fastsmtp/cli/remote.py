"""The client of the control socket, and the same operations without one.

`Remote` asks the server, `Local` runs the operations on a store of this process; a
command does not know which of the two it talks to.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from fastsmtp.cli import Failure
from fastsmtp.config import Config, ConfigErrors, check, find, outline
from fastsmtp.serve.control import LONGEST_LINE, SOCKET, Declined, Operation, Summary

STEERING: Final = "server.sock"  # see `fastsmtp.steering`


class Caller(Protocol):
    """Whoever runs operations. Items come as they are made, a `Summary` last.

    `Failure` when the operation is declined or cannot be done."""

    def call(
        self, op: str, request: msgspec.Struct, body: Sequence[bytes] = ()
    ) -> AsyncIterator[dict[str, Any]]: ...


async def ask(
    caller: Caller, op: str, request: msgspec.Struct, body: Sequence[bytes] = ()
) -> Summary:
    """Run an operation whose items do not matter."""
    last = Summary()
    async for item in caller.call(op, request, body):
        if isinstance(item, Summary):
            last = item
    return last


class Remote:
    """A connection to the server's control socket."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, run: Path, name: str = SOCKET) -> Self | None:
        """None when no server listens there."""
        try:
            streams = await asyncio.open_unix_connection(run / name, limit=LONGEST_LINE)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return cls(*streams)

    async def call(
        self, op: str, request: msgspec.Struct, body: Sequence[bytes] = ()
    ) -> AsyncIterator[dict[str, Any]]:
        fields = {"op": op, "octets": sum(map(len, body))}
        fields |= msgspec.to_builtins(request)
        try:
            self._writer.write(msgspec.json.encode(fields) + b"\n")
            for piece in body:
                self._writer.write(piece)
                await self._writer.drain()
            while line := await self._reader.readline():
                answer = msgspec.json.decode(line)
                if "item" not in answer:
                    yield _last(answer)
                    return
                yield answer["item"]
        except ConnectionError:
            pass
        raise Failure(
            "the server went away in the middle",
            "look into its log; what it had answered for is done",
        )

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def running_config(named: str | None) -> tuple[Path, Config]:
    """The file, and enough of its configuration to find the running server, which can
    be steered although there are mistakes in the file by now."""
    path = find(named)
    found = outline(path)
    if found is None:
        raise ConfigErrors(check(path)[1])
    return path, found


@asynccontextmanager
async def steering(config: Config) -> AsyncIterator[Remote]:
    """The process that was started as `fastsmtp serve`."""
    try:
        remote = await Remote.connect(config.run, STEERING)
    except PermissionError:
        raise Failure(
            f"{config.run / STEERING} is not yours to use",
            "run this as the user that serves, or as root",
        ) from None
    if remote is None:
        raise Failure(
            f"no server runs with {config.run}",
            "`fastsmtp serve` starts one; has data or run changed in the file?",
        )
    try:
        yield remote
    finally:
        await remote.close()


def _last(answer: dict[str, Any]) -> Summary:
    if not answer.pop("ok", False):
        raise Failure(answer.get("error", "the server gave no reason"))
    return Summary(answer)


class Local:
    """The same operations, run here."""

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations

    async def call(
        self, op: str, request: msgspec.Struct, body: Sequence[bytes] = ()
    ) -> AsyncIterator[dict[str, Any]]:
        given = bytearray().join(body)
        at = 0

        async def octets(count: int) -> bytes:
            nonlocal at
            at += count
            return bytes(given[at - count : at])

        try:
            async for item in self._operations[op].run(request, octets):
                yield item
        except Declined as error:
            raise Failure(str(error)) from None

    async def close(self) -> None:
        """Nothing to do: the store belongs to whoever opened it."""
