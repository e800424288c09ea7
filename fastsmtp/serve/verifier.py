"""Argon2 beside the loop: bounded, and not twice for the same password.

A verification takes 25 ms and 20 MiB, so a few threads do it and a bounded number
waits for them. What was right is remembered for some minutes, by a keyed hash over the
record and the password: a changed password has another record and is not found.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from fastsmtp.auth.options import AuthOptions
from fastsmtp.auth.passwords import verify_password
from fastsmtp.errors import Refused

BUSY: Final = Refused(
    454, "4.7.0", "Too many logins at once, try again", "auth", "busy"
)
LIMIT: Final = 10_000  # passwords remembered


class Verifier:
    """Verifies passwords for one process.

    now     seconds of a clock that does not jump
    verify  as `auth.passwords.verify_password`; runs in a thread
    """

    def __init__(
        self,
        options: AuthOptions,
        now: Callable[[], float],
        verify: Callable[[str, str], bool] = verify_password,
    ) -> None:
        self._now = now
        self._verify = verify
        self._remember = options.remember
        self._most = options.threads + options.waiting
        self._pool = ThreadPoolExecutor(options.threads, "password")
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, float] = {}  # what was right, and until when
        self._running: dict[bytes, asyncio.Task[bool]] = {}

    def remembers(self, record: str, password: str) -> bool:
        """Whether this was right a short while ago."""
        mark = self._mark(record, password)
        until = self._right.get(mark)
        if until is None or until > self._now():
            return until is not None
        del self._right[mark]
        return False

    async def verify(self, record: str, password: str) -> bool:
        """As `verify_password`. Raises `BUSY` when too many wait.

        Goes on when whoever asked is cancelled: who hangs up early has not asked for
        less work."""
        mark = self._mark(record, password)
        task = self._running.get(mark)
        if task is None:
            if len(self._running) >= self._most:
                raise BUSY
            task = asyncio.ensure_future(self._run(mark, record, password))
            self._running[mark] = task
        return await asyncio.shield(task)

    async def _run(self, mark: bytes, record: str, password: str) -> bool:
        loop = asyncio.get_running_loop()
        try:
            right = await loop.run_in_executor(
                self._pool, self._verify, record, password
            )
        finally:
            del self._running[mark]
        if right and self._remember:
            if len(self._right) >= LIMIT:
                del self._right[next(iter(self._right))]
            self._right[mark] = self._now() + self._remember
        return right

    def _mark(self, record: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{record}\0{password}".encode(), "sha256")

    def close(self) -> None:
        """What waits is not verified any more."""
        for task in tuple(self._running.values()):
            task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
