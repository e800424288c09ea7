"""One connection over which another server is asked whether recipients exist: for
`serve.callahead`. Everything it says has limits; nothing it says is passed on."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from typing import Final, NamedTuple

from fastsmtp.net.dial import Place
from fastsmtp.policy.relaying import NextHop

LINE_MOST: Final = 4096  # octets of a line of a reply
LINES_MOST: Final = 100  # of one reply
UNKNOWN_CODES: Final = (550, 551, 553)
_REPLY: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


class Said(NamedTuple):
    """What it said of a recipient.

    exists  None: it said nothing of that
    reply   its last line
    """

    exists: bool | None
    reply: str


class Line:
    """It raises `OSError`, `EOFError` and `ValueError` when the other side is gone or
    speaks no SMTP; then it is of no use any more.

    until  when it is too old to be used again; the owner's business
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.until = 0.0
        self._reader = reader
        self._writer = writer
        self._utf8 = False

    @classmethod
    async def open(
        cls,
        sock: socket.socket,
        place: Place,
        hop: NextHop,
        ours: tuple[str, ssl.SSLContext | None],
    ) -> Line:
        """ours: our name, and TLS where it comes first. The socket is taken over."""
        hostname, tls = ours
        name = hop.host if tls is not None else None
        try:
            if place.family == socket.AF_UNIX:
                streams = await asyncio.open_unix_connection(sock=sock, limit=LINE_MOST)
            else:
                streams = await asyncio.open_connection(
                    sock=sock, limit=LINE_MOST, ssl=tls, server_hostname=name
                )
        except BaseException:
            sock.close()
            raise
        line = cls(*streams)
        try:
            await line._greet("LHLO" if hop.transport == "lmtp" else "EHLO", hostname)
        except BaseException:
            line.close()
            raise
        return line

    async def _greet(self, verb: str, hostname: str) -> None:
        code, texts = await self._reply()
        if code // 100 == 2:
            code, texts = await self._say(f"{verb} {hostname}")
            if code in (500, 502) and verb == "EHLO":
                code, texts = await self._say(f"HELO {hostname}")
        if code // 100 != 2:
            raise ValueError(f"it said {code} {texts[-1]}")
        self._utf8 = "SMTPUTF8" in (text.upper() for text in texts)

    async def has(self, sender: str, address: str) -> Said:
        """Whether it takes mail for this address."""
        more = "" if address.isascii() else " SMTPUTF8"
        if more and not self._utf8:
            return Said(None, "it has no SMTPUTF8")
        code, texts = await self._say(f"MAIL FROM:<{sender}>{more}")
        if code // 100 != 2:
            raise ValueError(f"it said to MAIL {code} {texts[-1]}")
        code, texts = await self._say(f"RCPT TO:<{address}>")
        await self._say("RSET")
        reply = f"{code} {texts[-1]}"
        if code // 100 == 2:
            return Said(True, reply)
        policy = texts[-1].startswith(("5.7.", "5.3."))
        return Said(False if code in UNKNOWN_CODES and not policy else None, reply)

    def close(self) -> None:
        self._writer.close()

    async def _say(self, command: str) -> tuple[int, list[str]]:
        self._writer.write(command.encode() + b"\r\n")
        return await self._reply()

    async def _reply(self) -> tuple[int, list[str]]:
        texts = []
        for _ in range(LINES_MOST):
            octets = await self._reader.readline()
            if not octets.endswith(b"\n"):
                raise EOFError("it closed the connection")
            found = _REPLY.fullmatch(octets.rstrip(b"\r\n"))
            if found is None:
                raise ValueError("it does not speak SMTP")
            texts.append((found[3] or b"").decode("ascii", "replace"))
            if found[2] != b"-":
                return int(found[1]), texts
        raise ValueError("its reply does not end")
