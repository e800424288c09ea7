"""A fair share by client network when the server runs short, not first come first in.

    connections run short   `near` of them are taken (share_above percent). A network
                            gets no more (421) when it has as many as are left for
                            everybody: each that comes finds at least half of what the
                            one before found. Networks with more than an equal part
                            lose connections that are idle.
    the machine is behind   the keeper has half as much to apply as makes the door say
                            452, or bodies wait for memory. Networks with more than the
                            average get no new connection (421) or transaction (451).

A network alone here is never behind its own share: a load test is not refused. Looked
at once a second; nothing is asked of a message but whether one bit is set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fastsmtp.net.clock import Clock
from fastsmtp.serve.refusals import SHARE

if TYPE_CHECKING:
    from fastsmtp.serve.guest import Client, Crowd
    from fastsmtp.serve.reception import Reception

LOOK: Final = 1.0  # seconds
BEHIND: Final = 0.5  # of what the store may be behind
IDLE: Final = 10.0  # seconds without a transaction after which a connection may be lost


class Fairness:
    """Looks after one listener; `slot` is the clock's.

    behind  how far the store is behind, 1.0: it takes no mail
    """

    def __init__(
        self,
        crowd: Crowd,
        reception: Reception,
        behind: Callable[[], float],
        clock: Clock,
    ) -> None:
        self.slot = 0
        self._crowd = crowd
        self._reception = reception
        self._behind = behind
        self._clock = clock
        reception.greedy = crowd.greedy
        clock.watch(self, clock.now + LOOK)

    def check(self, now: float) -> float:
        crowd = self._crowd
        strained = crowd.service.crowded or self._behind() > BEHIND
        crowd.strained = self._reception.strained = strained
        if len(crowd.guests) >= crowd.near:
            self._shed(now)
        return now + LOOK

    def _shed(self, now: float) -> None:
        """Networks over their share lose connections in which nothing happens."""
        share = self._crowd.share()
        over = {
            network: here - share
            for network, here in self._crowd.networks.items()
            if here > share
        }
        if not over:
            return
        for guest in tuple(self._crowd.guests):
            if over.get(guest.network, 0) > 0 and _idle(guest, now):
                over[guest.network] -= 1
                guest.shut(SHARE, "shutdown")

    def close(self) -> None:
        self._clock.forget(self)


def _idle(guest: Client, now: float) -> bool:
    session = guest.session
    busy = session.in_transaction or session.pending or not guest.greeted
    return not busy and now - guest.active >= IDLE
