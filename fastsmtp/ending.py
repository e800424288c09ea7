"""From signals to an orderly end: the first asks for it, the second insists.

SIGTERM (and SIGINT at a terminal) once: stop taking mail, finish what is in flight.
Twice: end at once. Nothing acknowledged is lost either way, for it is durable.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 1  # exit status after the second signal


class Ending:
    """Handles the signals of the running loop.

    at_once   called at the second signal; ends the process by default
    terminal  False in a worker: an interrupt typed at a terminal reaches the whole
              group, and only the supervisor acts on it
    """

    def __init__(
        self,
        at_once: Callable[[], None] = lambda: os._exit(AT_ONCE),
        *,
        terminal: bool = True,
    ) -> None:
        self.status = 0
        self._asked = asyncio.Event()
        self._at_once = at_once
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.signalled)
        loop.add_signal_handler(
            signal.SIGINT, self.signalled if terminal else lambda: None
        )

    def signalled(self) -> None:
        if self._asked.is_set():
            self._at_once()
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
