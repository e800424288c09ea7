"""Live progress in a terminal, and a line for each phase in a file."""

import shutil
import sys
from typing import TextIO

from fastsmtp_bench.generator import Slice
from fastsmtp_bench.trial import Screen
from fastsmtp_bench.watching import Look, busy

SHOWN = ("loop", "keeper", "flusher", "generator")


class Terminal(Screen):
    """One line that changes, where that can be; else only what each phase found."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stderr
        self.live = self.out.isatty()
        self._what, self._seconds = "", 0.0
        self._last: Look | None = None

    def begin(self, what: str, seconds: float) -> None:
        self._what, self._seconds, self._last = what, seconds, None
        if self.live:
            self.out.write(f"\r\x1b[K{what}: {seconds:g} s …")
            self.out.flush()

    def tell(self, one: Slice, before: float, look: Look | None) -> None:
        if not self.live:
            return
        line = self.line(one, one.at - before, look)
        # a line that wraps could not be written over
        room = shutil.get_terminal_size().columns - 1
        self.out.write("\r\x1b[K" + line[:room])
        self.out.flush()

    def line(self, one: Slice, took: float, look: Look | None) -> str:
        """What one interval showed: rate, latency, errors, queue, CPU."""
        rate = one.counts["acknowledged"] / max(took, 1e-3)
        wrong = one.counts["refused"] + one.counts["broken"]
        parts = [
            f"{self._what} {one.at:4.1f} s",
            f"{rate:8,.0f}/s",
            f"p50 {one.whole.quantile(0.5) * 1e3:.1f} ms",
            f"p99 {one.whole.quantile(0.99) * 1e3:.1f} ms",
            f"{wrong} errors",
        ]
        if look and look.page:
            depth = look.page.total("fastsmtp_queue_messages")
            parts.append(f"queue {depth:,.0f}")
        if look and self._last and look is not self._last:
            shares = busy(self._last, look)
            parts += [f"{n} {shares[n]:.0%}" for n in SHOWN if n in shares]
        self._last = look
        return "  ".join(parts)

    def end(self, what: str) -> None:
        start = "\r\x1b[K" if self.live else ""
        self.out.write(f"{start}{self._what:26} {what}\n")
        self.out.flush()
