"""Threads for functions that may block: bounded, and never waited for.

`concurrent.futures` joins its threads when the process ends, and one that hangs would
hold it up for good; these are daemons. What they do when a question has been given up
is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

Job = tuple[Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any]"]


class Threads:
    """At most `most`, started when there is work and no idle one. One event loop."""

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._started = 0
        self._open = 0  # jobs that no thread has finished

    def run(
        self, function: Callable[..., Any], about: tuple[Any, ...]
    ) -> asyncio.Future[Any]:
        """Its result; one that is cancelled before its turn is not called at all."""
        future = asyncio.get_running_loop().create_future()
        self._open += 1
        if self._open > self._started and self._started < self._most:
            self._started += 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._jobs.put((function, about, future))
        return future

    def close(self) -> None:
        """Idle threads end, others when they are done."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, about, future = job
            answer: Any = None
            error: BaseException | None = None
            if not future.cancelled():
                try:
                    answer = function(*about)
                except BaseException as raised:
                    error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed
                future.get_loop().call_soon_threadsafe(
                    self._done, future, answer, error
                )
            del job, function, about, future, answer, error

    def _done(
        self, future: asyncio.Future[Any], answer: Any, error: BaseException | None
    ) -> None:
        self._open -= 1
        if future.done():
            return
        if error is None:
            future.set_result(answer)
        elif isinstance(error, StopIteration) or not isinstance(error, Exception):
            future.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))
        else:
            future.set_exception(error)
