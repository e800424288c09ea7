"""Which cells of a process's page are whose: the blocks of the packages that count.

A process counts without knowing what is made of it: `fastsmtp.metrics`, which names the
cells, is for the one that is asked.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fastsmtp import pulse
from fastsmtp.auth import counts as auth
from fastsmtp.delivery import counts as delivery
from fastsmtp.hooks import counts as hooks
from fastsmtp.net import counts as net
from fastsmtp.pop3 import counts as pop3
from fastsmtp.queue import counts as queue
from fastsmtp.serve import counts as serve
from fastsmtp.smtp import counts as smtp
from fastsmtp.store import counts as store


class Block(NamedTuple):
    """A stretch of a page that one object counts in."""

    first: int
    size: int

    @property
    def end(self) -> int:
        return self.first + self.size

    def of(self, cells: memoryview[int]) -> memoryview[int]:
        """This block of a page's cells."""
        return cells[self.first : self.end]


PULSE: Final = Block(0, pulse.SIZE)
SMTP: Final = {
    listener: Block(PULSE.end + n * smtp.CELLS, smtp.CELLS)
    for n, listener in enumerate(smtp.LISTENERS)
}
STORE: Final = Block(max(block.end for block in SMTP.values()), store.SIZE)
QUEUE: Final = Block(STORE.end, queue.CELLS)
DELIVERY: Final = Block(QUEUE.end, delivery.CELLS)
TLS: Final = {
    listener: Block(DELIVERY.end + n * net.CELLS, net.CELLS)
    for n, listener in enumerate((*smtp.LISTENERS, "outbound", *pop3.LISTENERS))
}
DNS: Final = Block(max(block.end for block in TLS.values()), net.DNS_CELLS)
HOOKS: Final = tuple(
    Block(DNS.end + n * hooks.SLOT, hooks.SLOT) for n in range(hooks.SLOTS)
)
AUTH: Final = Block(HOOKS[-1].end, auth.CELLS)
CHECKS: Final = Block(AUTH.end, serve.CELLS)
OUTBOUND: Final = Block(CHECKS.end, smtp.OUT_CELLS)
POP3: Final = {
    listener: Block(OUTBOUND.end + n * pop3.CELLS, pop3.CELLS)
    for n, listener in enumerate(pop3.LISTENERS)
}
CELLS: Final = max(block.end for block in POP3.values())
"""Cells of a process's page."""
