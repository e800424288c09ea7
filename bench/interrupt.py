"""Ctrl-C in the middle of a run: what runs is ended, and what there is is told."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final

INTERRUPTED: Final = 130  # the exit status, as a shell gives it
ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def later() -> Iterator[None]:
    """What would end this process by a signal ends it when this is left: between the
    start of a child and the line that keeps it, nobody would know whom to take along.
    In other threads nothing is to be done, for they hear no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = {
        one: signal.signal(one, lambda number, _: heard.append(number)) for one in ENDS
    }
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    for one in heard:
        signal.raise_signal(one)


class Interrupt:
    """While it is entered the first Ctrl-C sets `told` and ends what `ends` names; the
    second raises KeyboardInterrupt. Only in the main thread."""

    def __init__(self) -> None:
        self.told = False
        self._stop: Callable[[], None] = lambda: None
        self._before: Any = None

    def __enter__(self) -> "Interrupt":
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        why: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.told:
            raise KeyboardInterrupt
        self.told = True
        self._stop()

    @contextmanager
    def ends(self, stop: Callable[[], None]) -> Iterator[None]:
        """Meanwhile Ctrl-C calls `stop`; at once when it came before."""
        self._stop = stop
        if self.told:
            stop()
        try:
            yield
        finally:
            self._stop = lambda: None
