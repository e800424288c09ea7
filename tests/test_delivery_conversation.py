"""Conversations over real sockets, with servers that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from certificate import pair
from fakes import FakeClock, turns_until
from test_smtp_client import Bytes, codes, letter

from fastsmtp.cells import fresh
from fastsmtp.delivery.conversation import (
    CannotConnect,
    Conversation,
    Switchboard,
    Terms,
)
from fastsmtp.net import counts as net
from fastsmtp.net.clock import Clock
from fastsmtp.net.counts import HANDSHAKES
from fastsmtp.net.dial import Place
from fastsmtp.smtp.counts import OUT_CELLS, OUT_CONNECTIONS, OUT_OPEN, OUT_REUSES
from fastsmtp.smtp.letter import Answer, Letter, Rcpt
from fastsmtp.smtp.options import SendOptions

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
LINE = b"y" * 78 + b"\r\n"


def run(make: Callable[[], Coroutine[Any, Any, None]], loop: str = "uvloop") -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(make(), 20))


class Input:
    """What a client sends, by its ends; it is read only while the server reads."""

    def __init__(self, reader: asyncio.StreamReader, reading: asyncio.Event) -> None:
        self.reader = reader
        self.reading = reading
        self.kept = bytearray()

    async def until(self, mark: bytes) -> bytes:
        looked = 0
        while (at := self.kept.find(mark, looked)) < 0:
            looked = max(0, len(self.kept) - len(mark))
            await self.reading.wait()
            piece = await self.reader.read(1 << 16)
            if not piece:
                raise EOFError
            self.kept += piece
        found = bytes(self.kept[: at + len(mark)])
        del self.kept[: at + len(mark)]
        return found


class Server:
    """A server on a free port that says what its script says.

    offers  lines of its answer to EHLO
    say     replies instead of the usual ones, by verb: a line, or None for silence
            from then on; "." is the end of the data, "" the greeting
    """

    def __init__(self, *offers: str, **say: str | None) -> None:
        self.offers = ("mx.example.test", *offers)
        self.say: dict[str, str | None] = {
            "": "220 mx",
            "MAIL": "250 ok",
            "RCPT": "250 ok",
            "DATA": "354 go on",
            ".": "250 2.0.0 mine",
            "QUIT": "221 bye",
            "RSET": "250 ok",
            "STARTTLS": "220 go on",
            **say,
        }
        self.bodies: list[bytes] = []
        self.heard: list[str] = []
        self.context: ssl.SSLContext | None = None
        self.implicit = False
        self.mute = False
        self.broken = False  # after STARTTLS comes nonsense
        self.reading = asyncio.Event()
        self.reading.set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Server:
        context = self.context if self.implicit else None
        self._server = await asyncio.start_server(
            self._talk, "127.0.0.1", 0, ssl=context, limit=1 << 16
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *about: object) -> None:
        assert self._server
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    @property
    def place(self) -> Place:
        return Place("127.0.0.1", self.port)

    def hang_up(self, reset: bool = False) -> None:
        for writer in self._writers:
            if reset:
                sock = writer.get_extra_info("socket")
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.append(writer)
        given = Input(reader, self.reading)
        with contextlib.suppress(OSError, EOFError, ssl.SSLError):
            self._answer(writer, "")
            while True:
                line = await given.until(b"\r\n")
                verb = line.split()[0].decode()
                self.heard.append(line.decode().strip())
                self._answer(writer, verb)
                if verb == "DATA" and (self.say["DATA"] or "").startswith("354"):
                    body = await given.until(b"\r\n.\r\n")
                    self.bodies.append(body[:-3])
                    self._answer(writer, ".")
                elif verb == "STARTTLS" and self.broken:
                    await reader.read(1)
                    writer.write(b"\x15garbage")
                    return
                elif verb == "STARTTLS" and self.context is not None:
                    await writer.start_tls(self.context)
        writer.close()

    def _answer(self, writer: asyncio.StreamWriter, verb: str) -> None:
        if verb in ("EHLO", "LHLO") and verb not in self.say:
            *most, last = self.offers
            text = "".join(f"250-{line}\r\n" for line in most) + f"250 {last}"
        else:
            text = self.say[verb]  # type: ignore[assignment]
        self.mute |= text is None
        if not self.mute:
            writer.write(str(text).encode() + b"\r\n")


class Board(Switchboard):
    """With counters and a clock that the test moves."""

    def __init__(self, **options: Any) -> None:
        self.time = FakeClock()
        self.troubles: list[Exception] = []
        self.counted = fresh(OUT_CELLS)
        self.shakes = fresh(net.CELLS)
        super().__init__(
            "client.test",
            SendOptions(**options),
            cells=self.counted,
            handshakes=self.shakes,
            trouble=self.troubles.append,
            clock=Clock(self.time),
        )

    def count(self, result: str) -> int:
        return self.counted[OUT_CONNECTIONS.place("ipv4", result)]

    def shaken(self, version: str, result: str) -> int:
        return self.shakes[HANDSHAKES.place(version, result)]

    def pass_time(self, seconds: float) -> None:
        self.time.advance(seconds)
        self.clock.advance()


def give(conversation: Conversation, one: Letter) -> asyncio.Future[list[Answer]]:
    done: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
    conversation.give(one, done.set_result)
    return done


@contextlib.asynccontextmanager
async def talk(server: Server, **options: Any) -> AsyncIterator[Any]:
    async with server:
        board = Board(**options)
        conversation = await board.connect([server.place], Terms())
        yield board, conversation
        board.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_letters_go_out_and_the_connection_is_left_in_peace(loop: str) -> None:
    async def story() -> None:
        server = Server("PIPELINING")
        async with talk(server) as (board, conversation):
            gone: list[Answer] = []
            conversation.lost = gone.append
            assert conversation.offers.pipelining
            assert board.cells[OUT_OPEN] == 1
            first = give(conversation, letter())
            second = give(conversation, letter(body=LINE))
            assert not conversation.room
            assert codes(await first) == [(250, "body")]
            assert codes(await second) == [(250, "body")]
            assert server.bodies == [b"Subject: x\r\n\r\n..dot\r\nend\r\n", LINE]
            assert conversation.idle
            assert conversation.letters == 2
            await conversation.quit()
            assert server.heard[-1] == "QUIT"
            assert gone == []
            assert not conversation.room
            assert board.cells[OUT_OPEN] == 0
            assert board.cells[OUT_REUSES] == 1
            assert board.count("connected") == 1
            assert board.troubles == []

    run(story, loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_large_body_is_read_as_fast_as_it_is_taken(loop: str) -> None:
    async def story() -> None:
        server = Server("PIPELINING")
        async with talk(server) as (_, conversation):
            body = Bytes(LINE * 200_000)  # 16 MB
            done = give(conversation, letter()._replace(body=body))
            await turns_until(lambda: "DATA" in server.heard)
            server.reading.clear()
            for _ in range(200):
                await asyncio.sleep(0)
            before = len(body.reads)
            assert before * 262_144 < body.length
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(body.reads) == before  # nobody reads: nothing is read
            assert conversation.engine.stage == "body"
            server.reading.set()
            assert codes(await done) == [(250, "body")]
            assert server.bodies == [body.octets]
            assert {size <= 262_144 for _, size in body.reads} == {True}

    run(story, loop)


def test_a_chunk_goes_out_with_what_follows_it() -> None:
    async def story() -> None:
        server = Server("PIPELINING", "CHUNKING")
        got = bytearray()

        async def chunks(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.write(b"220 mx\r\n")
            while line := await reader.readline():
                verb, *words = line.split()
                if verb == b"BDAT":
                    got.extend(await reader.readexactly(int(words[0])))
                if verb == b"EHLO":
                    writer.write(b"250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
                elif verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 ok\r\n")
                else:
                    writer.write(b"250 ok\r\n")
            writer.close()

        server._talk = chunks  # type: ignore[method-assign]
        async with talk(server) as (_, conversation):
            body = LINE * 20_000
            first = give(conversation, letter(body=body))
            second = give(conversation, letter(body=LINE))
            assert codes(await first) == [(250, "body")]
            assert codes(await second) == [(250, "body")]
            assert bytes(got) == body

    run(story)


def test_what_cannot_go_is_answered_after_give_returns() -> None:
    async def story() -> None:
        async with talk(Server("PIPELINING")) as (_, conversation):
            done = give(conversation, letter(eight_bit=True))
            assert not done.done()
            assert codes(await done) == [(554, "mail")]
            assert conversation.letters == 0

    run(story)


@pytest.mark.parametrize(
    ("reset", "why"),
    [
        (False, "the server closed the connection"),
        (True, "connection lost: Connection reset by peer"),
    ],
)
def test_a_lost_connection_answers_and_tells(reset: bool, why: str) -> None:
    async def story() -> None:
        server = Server("PIPELINING", **{".": None})
        async with talk(server) as (board, conversation):
            gone: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            conversation.lost = gone.set_result
            first = give(conversation, letter())
            await turns_until(lambda: len(server.bodies) == 1)
            second = give(conversation, letter()) if reset else None
            server.hang_up(reset)
            assert codes(await first) == [(0, "body")]
            if second is not None:
                assert codes(await second) == [(0, "mail")]
            assert (await gone).code == 0
            assert (await first)[0].text == why
            assert board.cells[OUT_OPEN] == 0

    run(story)


def test_421_to_an_idle_connection() -> None:
    async def story() -> None:
        server = Server()
        async with talk(server) as (_, conversation):
            gone: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            conversation.lost = gone.set_result
            server._writers[0].write(b"421 4.4.2 idle for too long\r\n")
            answer = await gone
            assert answer == Answer(421, "4.4.2", "idle for too long", "mail")
            assert not conversation.room

    run(story)


PATIENCE = {
    "": ("greeting", 300),
    "EHLO": ("ehlo", 300),
    "MAIL": ("mail", 300),
    "RCPT": ("rcpt", 300),
    "DATA": ("data", 120),
    ".": ("body", 600),
}


@pytest.mark.parametrize("verb", PATIENCE)
def test_rfc_20_silence_ends_at_its_time_and_not_before(verb: str) -> None:
    stage, patience = PATIENCE[verb]

    async def story() -> None:
        server = Server("PIPELINING", **{verb: None})
        async with server:
            board = Board()
            opening = asyncio.ensure_future(board.connect([server.place], Terms()))
            waiting: asyncio.Future[Any] = opening
            if verb not in ("", "EHLO"):
                conversation = await opening
                waiting = give(conversation, letter())
            (conversation,) = await opened(board)
            await turns_until(lambda: conversation.engine.stage == stage)
            if verb == ".":
                await turns_until(lambda: len(server.bodies) == 1)
            for _ in range(patience - 2):
                board.pass_time(1.0)
            await asyncio.sleep(0)
            assert not waiting.done()
            for _ in range(3):
                board.pass_time(1.0)
            if waiting is opening:
                with pytest.raises(CannotConnect) as caught:
                    await opening
                answer = caught.value.answer
            else:
                (answer,) = await waiting
            assert (answer.code, answer.stage) == (0, stage)
            assert answer.text == f"no answer within {patience} seconds"
            await turns_until(lambda: not board._open)
            board.close()

    run(story)


async def opened(board: Board) -> set[Conversation]:
    await turns_until(lambda: any(c.transport for c in board._open))
    return board._open


def test_a_reply_that_never_ends_does_not_put_the_deadline_off() -> None:
    async def story() -> None:
        server = Server(MAIL=None)
        async with talk(server) as (board, conversation):
            done = give(conversation, letter())
            await turns_until(lambda: "MAIL" in " ".join(server.heard))
            for _ in range(31):
                server._writers[0].write(b"250-still here\r\n")
                await asyncio.sleep(0)
                for _ in range(10):
                    board.pass_time(1.0)
            assert codes(await done) == [(0, "mail")]

    run(story)


def test_quit_does_not_wait_for_ever() -> None:
    async def story() -> None:
        async with talk(Server(QUIT=None)) as (board, conversation):
            leaving = asyncio.ensure_future(conversation.quit())
            await asyncio.sleep(0)
            for _ in range(12):
                board.pass_time(1.0)
            await leaving

    run(story)


def test_the_next_address_is_tried_until_one_is_ready() -> None:
    async def story() -> None:
        away, good = Server(**{"": "554 5.7.1 go away"}), Server()
        async with away, good:
            board = Board()
            closed = Place("127.0.0.1", 1)
            places = [closed, away.place, good.place]
            conversation = await board.connect(places, Terms())
            assert conversation.place == good.place
            assert board.count("refused") == 1
            assert board.count("turned_away") == 1
            assert board.count("connected") == 1
            with pytest.raises(CannotConnect) as caught:
                await board.connect([closed, away.place], Terms())
            assert caught.value.answer == Answer(554, "5.7.1", "go away", "greeting")
            assert caught.value.place == away.place
            with pytest.raises(CannotConnect) as caught:
                await board.connect([closed], Terms())
            told = "127.0.0.1:1: Connection refused"
            assert caught.value.answer == Answer(0, "4.4.1", told, "connect")
            with pytest.raises(CannotConnect, match="no address"):
                await board.connect([], Terms())
            board.close()

    run(story)


def test_closing_the_board_answers_what_is_inside() -> None:
    async def story() -> None:
        async with talk(Server(MAIL=None)) as (board, conversation):
            done = give(conversation, letter())
            board.close()
            (answer,) = await done
            assert (answer.code, answer.text) == (0, "we are closing")

    run(story)


def test_lmtp_over_a_unix_socket(tmp_path: Path) -> None:
    async def story() -> None:
        server = Server("PIPELINING", **{".": "250 2.1.5 one\r\n452 4.2.2 other"})
        path = str(tmp_path / "lmtp")
        listening = await asyncio.start_unix_server(server._talk, path)
        board = Board()
        place = Place(f"unix:{path}", 0)
        conversation = await board.connect([place], Terms(lmtp=True))
        answers = await give(conversation, letter("a@t.test", "b@t.test"))
        assert codes(answers) == [(250, "lmtp"), (452, "lmtp")]
        assert server.heard[0] == "LHLO client.test"
        await conversation.quit()
        listening.close()
        assert board.counted[OUT_CONNECTIONS.place("other", "connected")] == 1

    run(story)


# -- TLS


def secure_server(folder: Path, *offers: str, **say: str | None) -> Server:
    server = Server("STARTTLS", *offers, **say)
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(*pair(folder, "mx.example.test"))
    return server


Story = Callable[[Path], Awaitable[None]]
NAMED = Terms(name="mx.example.test")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("level", ["may", "encrypt", "verify"])
def test_tls_by_its_level(tmp_path: Path, level: str, loop: str) -> None:
    async def story() -> None:
        server = secure_server(tmp_path, "REQUIRETLS", "PIPELINING")
        async with server:
            board = Board(tls=level, ca_file=str(tmp_path / "tls.crt"))
            conversation = await board.connect([server.place], NAMED)
            assert conversation.secured == "TLSv1.3"
            assert conversation.tls[1].startswith("TLS_")
            assert server.heard.count("EHLO client.test") == 2
            body = LINE * 50_000
            done = give(conversation, letter(body=body, requiretls=True))
            assert codes(await done) == [(250, "body")]
            assert server.bodies == [body]
            assert server.heard[-3].endswith(" REQUIRETLS")
            assert board.shaken("TLSv1.3", "full") == 1
            await conversation.quit()
            assert board.troubles == []
            board.close()

    run(story, loop)


@pytest.mark.parametrize(
    ("name", "trusted", "why"),
    [
        ("mx.other.test", True, "mismatch"),
        ("mx.example.test", False, "self-signed"),
        ("", True, "there is no name"),
    ],
)
def test_rfc_3207_verify_means_this_name_and_no_other(
    tmp_path: Path, name: str, trusted: bool, why: str
) -> None:
    async def story() -> None:
        server = secure_server(tmp_path)
        async with server:
            ca_file = str(tmp_path / "tls.crt") if trusted else ""
            board = Board(tls="verify", ca_file=ca_file)
            with pytest.raises(CannotConnect) as caught:
                await board.connect([server.place], Terms(name=name))
            answer = caught.value.answer
            assert (answer.code, answer.enhanced, answer.stage) == (0, "4.7.5", "tls")
            assert why in answer.text
            assert not [line for line in server.heard if line.startswith("MAIL")]
            board.close()

    run(story)


def test_may_goes_on_in_clear_when_the_handshake_fails(tmp_path: Path) -> None:
    async def story() -> None:
        server = secure_server(tmp_path, "PIPELINING")
        server.broken = True
        async with server:
            board = Board()
            conversation = await board.connect([server.place], NAMED)
            assert conversation.secured == ""
            assert codes(await give(conversation, letter())) == [(250, "body")]
            assert board.shaken("none", "failed") == 1
            assert board.count("tls_failed") == 1
            assert board.count("connected") == 1
            board.close()

    run(story)


def test_attack_2_encrypt_never_goes_on_in_clear(tmp_path: Path) -> None:
    """Neither when the handshake fails, nor when somebody takes STARTTLS away."""

    async def story() -> None:
        broken = secure_server(tmp_path)
        broken.broken = True
        stripped = Server("XXXXXXXX")
        refusing = Server("STARTTLS", STARTTLS="454 4.7.0 not now")
        async with broken, stripped, refusing:
            board = Board(tls="encrypt")
            for server, code in ((broken, 0), (stripped, 0), (refusing, 454)):
                with pytest.raises(CannotConnect) as caught:
                    await board.connect([server.place], NAMED)
                answer = caught.value.answer
                assert (answer.code, answer.stage) == (code, "tls")
                assert not [x for x in server.heard if x.startswith("MAIL")]
            board.close()

    run(story)


def test_attack_2_words_in_clear_behind_starttls_are_an_attack(tmp_path: Path) -> None:
    async def story() -> None:
        server = secure_server(
            tmp_path, STARTTLS="220 go on\r\n250-mx\r\n250 AUTH PLAIN"
        )
        async with server:
            board = Board(tls="encrypt")
            with pytest.raises(CannotConnect) as caught:
                await board.connect([server.place], NAMED)
            assert caught.value.answer.stage == "tls"
            assert "in clear" in caught.value.answer.text
            board.close()

    run(story)


def test_rfc_30_implicit_tls(tmp_path: Path) -> None:
    async def story() -> None:
        server = secure_server(tmp_path)
        server.implicit = True
        async with server:
            board = Board(ca_file=str(tmp_path / "tls.crt"))
            terms = Terms(name="mx.example.test", implicit=True, tls="verify")
            conversation = await board.connect([server.place], terms)
            assert conversation.secured == "TLSv1.3"
            assert "STARTTLS" not in server.heard
            assert codes(await give(conversation, letter())) == [(250, "body")]
            other = Terms(name="mx.other.test", implicit=True, tls="verify")
            with pytest.raises(CannotConnect) as caught:
                await board.connect([server.place], other)
            assert caught.value.answer.stage == "tls"
            board.close()

    run(story)


def test_a_silent_handshake_ends(tmp_path: Path) -> None:
    async def story() -> None:
        server = Server("STARTTLS", STARTTLS="220 go on")

        async def mute(reader: Any, writer: Any) -> None:
            writer.write(b"220 mx\r\n")
            await reader.readline()
            writer.write(b"250-mx\r\n250 STARTTLS\r\n")
            await reader.readline()
            writer.write(b"220 go on\r\n")
            server.heard.append("muted")
            await reader.read(1 << 16)
            with contextlib.suppress(OSError):
                await reader.read()
            writer.close()

        server._talk = mute  # type: ignore[method-assign]
        async with server:
            board = Board(tls="encrypt")
            opening = asyncio.ensure_future(board.connect([server.place], NAMED))
            (conversation,) = await opened(board)
            await turns_until(lambda: conversation.engine.upgrade)
            for _ in range(32):
                board.pass_time(1.0)
            with pytest.raises(CannotConnect) as caught:
                await opening
            assert caught.value.answer.stage == "tls"
            assert board.shaken("none", "timeout") == 1
            board.close()

    run(story)


def test_it_takes_the_recipients_it_is_given() -> None:
    async def story() -> None:
        server = Server("PIPELINING")
        async with talk(server) as (_, conversation):
            many = tuple(Rcpt(f"r{n}@t.test") for n in range(1000))
            one = Letter("a@c.test", many, Bytes(LINE))
            assert len(await give(conversation, one)) == 1000
            assert sum(line.startswith("RCPT") for line in server.heard) == 1000

    run(story)


def test_a_file_of_authorities_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        board = Board(tls="verify", ca_file=str(tmp_path / "none.pem"))
        with pytest.raises(CannotConnect, match="No such file"):
            await board.connect([Place("127.0.0.1", 1)], NAMED)

    run(story)
