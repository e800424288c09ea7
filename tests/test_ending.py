"""The first signal asks, the second insists; a worker hears neither."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from fastsmtp.ending import AT_ONCE, Ending


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), 5)

    uvloop.run(bounded())


def me(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_insists(number: int) -> None:
    async def work() -> None:
        insisted = asyncio.Event()
        ending = Ending(insisted.set)
        me(number)
        await ending.wait()
        assert ending.asked
        assert ending.status == 0
        assert not insisted.is_set()
        me(signal.SIGTERM)
        await insisted.wait()
        assert ending.status == AT_ONCE

    run(work)


def test_a_worker_does_not_hear_them() -> None:
    async def work() -> None:
        heard = asyncio.Event()
        ending = Ending(heard.set, signals=False)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            me(number)
        await heard.wait()
        assert not ending.asked

    run(work)


def test_the_first_status_that_is_not_0_stays() -> None:
    async def work() -> None:
        ending = Ending(lambda: None)
        ending.ask()
        ending.ask(70)
        ending.ask(1)
        assert ending.status == 70

    run(work)


def test_a_failure_and_then_one_signal_still_end_in_order() -> None:
    async def work() -> None:
        insisted = asyncio.Event()
        ending = Ending(insisted.set)
        ending.ask(1)
        ending.signalled()
        assert not insisted.is_set()
        ending.signalled()
        assert insisted.is_set()

    run(work)
