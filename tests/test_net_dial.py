"""Connecting to one of several addresses, with connects that do as they are told."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fakes import turns_until

from fastsmtp.net.dial import Dial, NoConnection, Place

A, B, C = (Place(f"192.0.2.{n}", 25) for n in (1, 2, 3))
STAGGER = 0.25


class Hand:
    """A loop's time and connects by hand: futures that the test settles."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.called: list[str] = []
        self.futures: dict[str, asyncio.Future[None]] = {}
        self.times: list[float] = []
        monkeypatch.setattr(asyncio, "wait", self._wait)
        self._real = asyncio.wait
        self.pauses: list[float | None] = []
        self.fire = False

    async def _wait(self, running: Any, **more: Any) -> Any:
        """`fire`: the time is up at once; else it never is."""
        self.pauses.append(more["timeout"])
        if self.fire and more["timeout"] is not None:
            for _ in range(3):
                await asyncio.sleep(0)
            done = {task for task in running if task.done()}
            return done, set(running) - done
        return await self._real(running, **more)

    async def connect(self, sock: socket.socket, target: tuple[str, int]) -> None:
        self.called.append(target[0])
        await self.futures[target[0]]


def play(
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[Hand], Coroutine[Any, Any, None]],
) -> None:
    async def whole() -> None:
        loop = asyncio.get_running_loop()
        for place in (A, B, C):
            hand.futures[place.host] = loop.create_future()
        monkeypatch.setattr(loop, "sock_connect", hand.connect)
        await asyncio.wait_for(story(hand), 10)

    real = asyncio.wait
    hand = Hand(monkeypatch)
    hand._real = real
    asyncio.run(whole())


def refuse(future: asyncio.Future[None]) -> None:
    future.set_exception(ConnectionRefusedError(errno.ECONNREFUSED, "no"))


def test_the_first_is_taken_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(hand: Hand) -> None:
        hand.futures[A.host].set_result(None)
        dial = Dial([A, B, C])
        sock, place = await dial.next()
        sock.close()
        assert place == A
        assert hand.called == [A.host]
        assert hand.pauses == [STAGGER]

    play(monkeypatch, story)


def test_rfc_8305_a_slow_address_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(hand: Hand) -> None:
        hand.fire = True
        hand.futures[B.host].set_result(None)
        dial = Dial([A, B, C], stagger=STAGGER)
        sock, place = await dial.next()
        sock.close()
        assert place == B
        assert hand.called == [A.host, B.host]
        # the slow one comes last, should this one be no good
        hand.futures[C.host].set_result(None)
        sock, place = await dial.next()
        sock.close()
        assert place == C
        hand.futures[A.host] = asyncio.get_running_loop().create_future()
        hand.futures[A.host].set_result(None)
        sock, place = await dial.next()
        sock.close()
        assert place == A

    play(monkeypatch, story)


def test_a_refusal_calls_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(hand: Hand) -> None:
        refuse(hand.futures[A.host])
        hand.futures[B.host].set_result(None)
        dial = Dial([A, B])
        sock, place = await dial.next()
        sock.close()
        assert place == B
        assert [(f.place, f.why) for f in dial.failures] == [(A, "refused")]
        with pytest.raises(NoConnection) as caught:
            await dial.next()
        assert str(caught.value) == "192.0.2.1:25: Connection refused"

    play(monkeypatch, story)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENETUNREACH, "x"), "unreachable"),
        (OSError(errno.EHOSTUNREACH, "x"), "unreachable"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "timeout"),
        (TimeoutError(), "timeout"),
    ],
)
def test_why_there_is_no_connection(
    monkeypatch: pytest.MonkeyPatch, error: OSError, why: str
) -> None:
    async def story(hand: Hand) -> None:
        hand.futures[A.host].set_exception(error)
        with pytest.raises(NoConnection) as caught:
            await Dial([A]).next()
        assert [f.why for f in caught.value.failures] == [why]

    play(monkeypatch, story)


def test_who_gives_up_closes_what_was_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(hand: Hand) -> None:
        task = asyncio.ensure_future(Dial([A, B]).next())
        await turns_until(lambda: bool(hand.called))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert hand.futures[A.host].cancelled()

    play(monkeypatch, story)


def test_the_source_address_is_bound() -> None:
    async def story() -> None:
        def nothing(reader: Any, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sources = {socket.AF_INET: "127.0.0.9"}
        sock, _ = await Dial([Place("127.0.0.1", port)], sources=sources).next()
        assert sock.getsockname()[0] == "127.0.0.9"
        sock.close()
        server.close()
        sources = {socket.AF_INET: "192.0.2.9"}
        with pytest.raises(NoConnection, match="Cannot assign"):
            await Dial([Place("127.0.0.1", port)], sources=sources).next()

    asyncio.run(story())


def test_places_are_written_as_people_write_them() -> None:
    assert str(Place("192.0.2.1", 25)) == "192.0.2.1:25"
    assert str(Place("2001:db8::1", 25)) == "[2001:db8::1]:25"
    assert str(Place("unix:/run/lmtp", 0)) == "unix:/run/lmtp"
