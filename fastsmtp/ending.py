"""From signals to an orderly end: the first asks for it, the second insists.

SIGTERM (and SIGINT at a terminal) once: stop taking mail, finish what is in flight.
Twice: end at once. Nothing acknowledged is lost either way, for it is durable.

A worker is not told by signals, which reach every process of a terminal or a service
alike: its supervisor tells it through the pipe, see `fastsmtp.supervisor`.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 1  # exit status after the second signal


class Ending:
    """That somebody asked for the end, and the exit status.

    at_once   called at the second signal; ends the process by default
    signals   False in a worker: it does not hear SIGTERM and SIGINT

    Constructed on the running loop.
    """

    def __init__(
        self,
        at_once: Callable[[], None] = lambda: os._exit(AT_ONCE),
        *,
        signals: bool = True,
    ) -> None:
        self.status = 0
        self._asked = asyncio.Event()
        self._signalled = False
        self._at_once = at_once
        loop = asyncio.get_running_loop()
        heard = self.signalled if signals else _ignore
        loop.add_signal_handler(signal.SIGTERM, heard)
        loop.add_signal_handler(signal.SIGINT, heard)

    def signalled(self) -> None:
        if self._signalled:
            self.status = self.status or AT_ONCE
            self._at_once()
        self._signalled = True
        self._asked.set()

    def ask(self, status: int = 0) -> None:
        """End in order; `status` is the exit status, the first that is not 0 stays."""
        self.status = self.status or status
        self._asked.set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    async def wait(self) -> None:
        await self._asked.wait()


def _ignore() -> None:
    """A handler, not SIG_IGN: what this process starts would inherit that."""
