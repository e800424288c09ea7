"""Clients nobody knows: who may come in, how much they may do, how long they wait.

    strangers = Strangers(options, clock)
    crowd.heed(strangers)

Nothing that is not configured costs anything: `arrive` is None, there are no checks.
A network that is trusted is asked nothing. Buckets are those of this process: a network
whose connections go to several receivers has one in each.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, NamedTuple, cast

from fastsmtp.errors import Refused
from fastsmtp.net.clock import Clock
from fastsmtp.net.networks import Networks
from fastsmtp.policy.options import PolicyOptions
from fastsmtp.policy.rates import Rate
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.networks import grouping
from fastsmtp.serve.refusals import BANNED, too_many
from fastsmtp.serve.standing import Dns, Standings

if TYPE_CHECKING:
    from fastsmtp.serve.guest import Client
    from fastsmtp.smtp.session import Session


class SentAway(NamedTuple):
    """A client that may not come in: `result` is of `smtp.counts.ARRIVALS`."""

    result: str
    refused: Refused


class Strangers:
    """What one listener asks of clients; see the head of the file.

    network_of  what an address counts as, see `serve.networks`
    delay       seconds before the greeting, 0 for none
    share_above percent of the connections; see `serve.fairness`
    gated       whether `arrive` needs to be asked
    checks      of later stages
    dns         for names and lists; None: nobody is looked up
    """

    def __init__(
        self, options: PolicyOptions, clock: Clock, dns: Dns | None = None
    ) -> None:
        self._clock = clock
        self._trusted = Networks(options.trusted_networks)
        self._banned = Networks(options.banned_networks)
        self._connections = _rate(options.connections_per_minute)
        self._messages = _rate(options.messages_per_minute)
        self._recipients = _rate(options.recipients_per_minute)
        self.network_of = grouping(options.ipv4_prefix, options.ipv6_prefix)
        self.delay = options.greeting_delay
        self.share_above = options.fair_share_above
        self.gated = bool(self._banned) or self._connections is not None
        self._standings = None if dns is None else Standings(options, dns)
        self.checks = Checks(
            connect=() if dns is None else (self.look_up,),
            mail=() if self._messages is None else (self.mail,),
            rcpt=() if self._recipients is None else (self.rcpt,),
        )
        if dns is not None:
            self.checks += Checks(rcpt=(self.listed,))

    def trusts(self, address: str) -> bool:
        return address in self._trusted

    def arrive(self, guest: Client) -> SentAway | None:
        """A client whose `address` and `network` are known comes in."""
        if self.trusts(guest.address):
            return None
        if guest.address in self._banned:
            return SentAway("banned", BANNED)
        if self._connections is not None:
            wait = self._connections.take(guest.network, self._clock.now)
            if wait:
                refused = too_many("connections", 421, "4.7.0", wait)
                return SentAway("rate", refused)
        return None

    def mail(self, session: Session) -> Refused | None:
        return self._take(self._messages, session, "messages", 451)

    def rcpt(self, session: Session, address: str) -> Refused | None:
        return self._take(self._recipients, session, "recipients", 450)

    def look_up(self, guest: Client) -> None:
        """Begin to ask the DNS about it."""
        assert self._standings is not None
        if not self.trusts(guest.address):
            self._standings.begin(guest)

    def listed(
        self, session: Session, address: str
    ) -> Awaitable[Refused | None] | Refused | None:
        assert self._standings is not None
        if session.login or self.trusts(cast("Client", session.peer).address):
            return None
        return self._standings.rcpt(session, address)

    def close(self) -> None:
        if self._standings is not None:
            self._standings.close()

    def _take(
        self, rate: Rate | None, session: Session, what: str, code: int
    ) -> Refused | None:
        if rate is None or session.login:
            return None
        address = cast("Client", session.peer).address  # as XCLIENT may have changed it
        if self.trusts(address):
            return None
        wait = rate.take(self.network_of(address)[1], self._clock.now)
        return too_many(what, code, "4.7.1", wait) if wait else None


def _rate(per_minute: int) -> Rate | None:
    return Rate(per_minute) if per_minute else None
