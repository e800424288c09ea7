"""The control socket: how commands reach the process that writes the index.

A Unix socket (mode 0600) in the run directory. A request is one line of JSON,
`{"op": name, ...arguments}`; with `"octets": n` in it, n raw octets follow. The answer
is any number of lines `{"item": {...}}`, then `{"ok": true, ...}` or
`{"ok": false, "error": text}`. A connection carries requests one after the other.

An operation is a class of arguments and an async generator that gives items, and at the
end a `Summary` whose fields stand in the last line. Whether a command runs it through
this socket or in its own process makes no difference to it.
"""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from fastsmtp.errors import Conflict, Damaged, StoreUnavailable

SOCKET: Final = "control.sock"
LONGEST_LINE: Final = 1024 * 1024  # octets of a request without what follows it
CONNECTIONS: Final = 32

Octets = Callable[[int], Awaitable[bytes]]
"""The next n octets of those that follow a request; `EOFError` when they end."""


class Declined(Exception):
    """What was asked for is not done; the text says why, for a person."""


class Summary(dict[str, Any]):
    """What an operation gives last."""


Items = AsyncIterator[dict[str, Any]]
Handler = Callable[[Any, Octets], Items]


class Operation(NamedTuple):
    """`request` is a msgspec.Struct: the arguments, checked while they are read."""

    request: type[msgspec.Struct]
    run: Handler


class _Head(msgspec.Struct):
    op: str
    octets: int = 0


class ControlServer:
    """Serves operations until closed.

    fault  told of what no operation should raise: a bug, or broken data
    name   of the socket in the run directory
    """

    def __init__(
        self,
        run: Path,
        operations: Mapping[str, Operation],
        fault: Callable[[str, BaseException], None] = lambda op, error: None,
        name: str = SOCKET,
    ) -> None:
        self.path = run / name
        self._operations = operations
        self._fault = fault
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0  # operations
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Bind; a socket that a dead process left behind is replaced. The caller has
        the lock of the data directory, so that there is no living one."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(self.path.lstat().st_mode):
                self.path.unlink()
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(self.path))
        self.path.chmod(0o600)  # before it listens, nobody can connect
        self._server = await asyncio.start_unix_server(
            self._connected, sock=bound, limit=LONGEST_LINE
        )

    async def close(self, patience: float = 0.0) -> None:
        """Remove the socket. What runs may go on for `patience` seconds, then it is
        ended."""
        if self._server is None:
            return
        self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None
        self.path.unlink(missing_ok=True)

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            if len(self._tasks) > CONNECTIONS:
                await _send(writer, _failed("too many control connections"))
                return
            while line := await reader.readline():
                with self._running():
                    await self._answer(line, reader, writer)
        except (ConnectionError, EOFError):
            pass  # the command was interrupted
        except ValueError:
            await _send(writer, _failed("the request is too long"))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _answer(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        op, octets = "", Following(reader)
        try:
            head = msgspec.json.decode(line, type=_Head)
            op, octets.left = head.op, head.octets
            operation = self._operations.get(op)
            if operation is None:
                raise Declined(f"the server does not know {op!r}; is it an older one?")
            request = msgspec.json.decode(line, type=operation.request)
            last = Summary()
            async for item in operation.run(request, octets.read):
                if isinstance(item, Summary):
                    last = item
                else:
                    await _send(writer, {"item": item})
            answer = {**last, "ok": True}
        except (Declined, StoreUnavailable, Damaged, Conflict) as error:
            answer = _failed(str(error))
        except msgspec.MsgspecError as error:
            answer = _failed(f"not a request: {error}")
        except (ConnectionError, EOFError):
            raise
        except Exception as error:
            self._fault(op, error)
            answer = _failed(f"a bug, see the log: {type(error).__name__}: {error}")
        await octets.skip()
        await _send(writer, answer)


class Following:
    """The octets behind a request; all of them are read before the answer ends."""

    PIECE: Final = 256 * 1024

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.left = 0
        self._reader = reader

    async def read(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise Declined("the request says less octets than it needs")
        self.left -= count
        return await self._reader.readexactly(count)

    async def skip(self) -> None:
        while self.left > 0:
            await self.read(min(self.left, self.PIECE))


async def _send(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")
    await writer.drain()


def _failed(text: str) -> dict[str, Any]:
    return {"ok": False, "error": text}


def alive(run: Path, name: str = SOCKET) -> bool:
    """Whether a server listens at this socket of the run directory."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(run / name))
        except OSError:
            return False
    return True
