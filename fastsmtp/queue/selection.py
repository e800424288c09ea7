"""Which messages of the queue are meant: one filter for every command about it.

A message is meant when all that is asked of it holds, and when one recipient who still
waits fits all that is asked of recipients. What is then done to recipients (bounce,
delete) is done to those who fit, not to others of the same message.
"""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from fastsmtp.errors import Damaged
from fastsmtp.queue.message import (
    Queued,
    Standing,
    State,
    Target,
    decode_queued,
    destination_of,
)
from fastsmtp.queue.moves import decode_counted, destinations
from fastsmtp.queue.sieve import Sieve
from fastsmtp.store import keys
from fastsmtp.store.base import Store

PAGE: Final = 2000  # entries looked at in one go: less than a millisecond
FEW: Final = 50_000  # messages of a domain that are found by its rows

HopOf = Callable[[Queued, Target], str]
"""The key of the next hop of a recipient (`policy.relaying.NextHop.key`)."""
HopAt = Callable[[str, str | None], str | None]
Leads = Callable[[bytes, bytes | None], bool | None]
"""What `Sieve` and `Sight` ask by domain and sender."""


def last_hop(queued: Queued, target: Target) -> str:
    """Where it goes as far as the entry knows: chosen by an operator, or tried last."""
    return queued.via or target.hop


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked; None (0) is nothing.

    sender     a whole address, "@domain", "" for the null reverse-path; any case
    recipient  a whole address or "@domain", of a recipient who waits
    domain     where a recipient waits
    hop        the next hop of a recipient who waits: its key, or the host in it
    error      is part of what its last attempt said; any case
    attempts   at least so many, of a recipient who waits
    state      as it is now, ACTIVE included
    before     arrived before this, milliseconds of the wall clock; since: not before
    larger     octets at least; smaller: at most
    """

    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    hop: str | None = None
    error: str | None = None
    attempts: int = 0
    state: State | None = None
    before: int | None = None
    since: int | None = None
    larger: int | None = None
    smaller: int | None = None

    def takes(self, entry: "Entry", hop_of: HopOf = last_hop) -> bool:
        queued = entry.queued
        arrived = queued.envelope.arrived
        if self.state is not None and entry.state != self.state:
            return False
        if self.before is not None and arrived >= self.before:
            return False
        if self.since is not None and arrived < self.since:
            return False
        if self.larger is not None and queued.octets < self.larger:
            return False
        if self.smaller is not None and queued.octets > self.smaller:
            return False
        if not _meant(self.sender, queued.envelope.reverse_path):
            return False
        return not self.asks_recipients or bool(self.waiting(queued, hop_of))

    @property
    def asks_recipients(self) -> bool:
        if self.attempts or self.recipient is not None or self.domain is not None:
            return True
        return self.hop is not None or self.error is not None

    def waiting(self, queued: Queued, hop_of: HopOf = last_hop) -> list[Target]:
        """Who still waits and fits."""
        return [
            target
            for target in queued.targets
            if target.standing == Standing.WAITING
            and self._fits(queued, target, hop_of)
        ]

    def _fits(self, queued: Queued, target: Target, hop_of: HopOf) -> bool:
        if target.attempts < self.attempts:
            return False
        if self.error is not None and self.error.lower() not in target.error.lower():
            return False
        where = destination_of(target.address)
        if self.domain is not None and where != self.domain.lower():
            return False
        names = (target.address, target.recipient)
        if not any(_meant(self.recipient, name) for name in names):
            return False
        return self.hop is None or _leads(self.hop, hop_of(queued, target))


def _meant(wanted: str | None, address: str) -> bool:
    if wanted is None:
        return True
    wanted, address = wanted.lower(), address.lower()
    return address.endswith(wanted) if wanted[:1] == "@" else address == wanted


def _leads(wanted: str, key: str) -> bool:
    """Whether a next hop is meant: "smtp:[mail.example.org]:2525", or what of it a
    person would write."""
    wanted, key = wanted.lower(), key.lower()
    plain = key.partition(" ")[0]
    scheme, _, place = plain.partition(":")
    host, bracket, port = place.removeprefix("[").partition("]")
    if not bracket:
        host, _, port = place.partition(":")
    written = (key, plain, place, host, f"{host}{port}", f"{scheme}://{host}{port}")
    return wanted in written or wanted == f"{scheme}://{host}"


EVERYTHING: Final = Filter()


class Entry(NamedTuple):
    """A queued message as it stands: `state` is ACTIVE while somebody works on it."""

    id: int
    state: State
    queued: Queued


class Sight(NamedTuple):
    """What a search knows beside the store.

    active   ids of what is being worked on: the keeper knows
    hop_of   the next hop of a recipient
    damaged  told the id of each entry that cannot be read; it is left out
    hop_at   the key of the next hop of a domain's mail from a sender; asked without one
             first, and None when that cannot be said. It spares `hop_of` most messages
    """

    active: Collection[int] = frozenset()
    hop_of: HopOf = last_hop
    damaged: Callable[[int], None] = lambda id: None
    hop_at: HopAt = lambda domain, sender: None


PLAIN: Final = Sight()


async def entries(
    store: Store, wanted: Filter = EVERYTHING, sight: Sight = PLAIN
) -> AsyncIterator[Entry]:
    """What is meant, oldest process life first; read in pages."""
    every = wanted == EVERYTHING
    async for rows in _pages(store, wanted, sight):
        for key, value in rows:
            entry = _entry(int.from_bytes(key[1:], "big"), value, sight)
            if entry is not None and (every or wanted.takes(entry, sight.hop_of)):
                yield entry


@dataclass(slots=True)
class Survey:
    """What there is of messages that are meant, without their entries.

    oldest   milliseconds, wall clock, of arrival; 0 without any
    domains  where recipients wait; `octet_domains`: more of them
    """

    ids: list[int] = field(default_factory=list)
    octets: int = 0
    oldest: int = 0
    domains: set[str] = field(default_factory=set)
    octet_domains: set[bytes] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        arrived = entry.queued.envelope.arrived
        self.ids.append(entry.id)
        self.octets += entry.queued.octets
        self.oldest = min(self.oldest or arrived, arrived)
        self.domains.update(destinations(entry.queued))

    def end(self) -> None:
        """There are no more: bring into order what was found in any."""
        self.ids.sort()
        self.domains.update(name.decode() for name in self.octet_domains)
        self.octet_domains.clear()


async def survey(
    store: Store, wanted: Filter, found: Survey, sight: Sight = PLAIN
) -> None:
    """Count what is meant. That is `entries` without decoding what need not be."""
    count = Sieve(wanted, _leads_at(wanted.hop, sight)).survey
    async for rows in _pages(store, wanted, sight):
        for key, value in count(rows, sight.active, found):
            entry = _entry(int.from_bytes(key[1:], "big"), value, sight)
            if entry is not None and wanted.takes(entry, sight.hop_of):
                found.add(entry)
    found.end()


async def named(
    store: Store, ids: Collection[int], wanted: Filter, sight: Sight = PLAIN
) -> AsyncIterator[Entry]:
    """Those of these that are there and meant."""
    for id in ids:
        value = await store.get(keys.QUEUE, keys.queued(id))
        entry = _entry(id, value, sight) if value is not None else None
        if entry is not None and wanted.takes(entry, sight.hop_of):
            yield entry


async def show(store: Store, id: int, active: Collection[int] = ()) -> Entry | None:
    """One entry, or None when the queue has no such message. `Damaged` when it does
    not decode."""
    value = await store.get(keys.QUEUE, keys.queued(id))
    if value is None:
        return None
    queued = decode_queued(value)
    return Entry(id, State.ACTIVE if id in active else queued.state, queued)


def _entry(id: int, value: bytes, sight: Sight) -> Entry | None:
    try:
        queued = decode_queued(value)
    except Damaged:
        sight.damaged(id)
        return None
    return Entry(id, State.ACTIVE if id in sight.active else queued.state, queued)


async def _pages(
    store: Store, wanted: Filter, sight: Sight
) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    """Rows that may be meant, ascending; those of a domain are known by its rows."""
    fits = Sieve(wanted, _leads_at(wanted.hop, sight)).fits
    ids: list[int] | None = None
    if wanted.state == State.ACTIVE:
        ids = sorted(sight.active)
    elif wanted.domain is not None and await _are_few(store, wanted.domain.lower()):
        ids = await waiting_at(store, wanted.domain.lower())
    if ids is not None:
        for first in range(0, len(ids), PAGE):
            names = [keys.queued(id) for id in ids[first : first + PAGE]]
            values = await store.get_each(keys.QUEUE, names)
            pairs = zip(names, values, strict=True)
            yield [(k, v) for k, v in pairs if v is not None and fits(v)]
        return
    at: bytes | None = b"m"
    while at is not None:
        found, at = await store.sift(keys.QUEUE, at, keys.after(b"m"), PAGE, fits)
        yield found


async def _are_few(store: Store, domain: str) -> bool:
    """Whether reading the rows of a domain is less than looking at all entries."""
    counter = await store.get(keys.QUEUE, keys.destination(domain))
    return decode_counted(counter).messages <= FEW


def _leads_at(hop: str | None, sight: Sight) -> Leads | None:
    """For the sieve: whether mail may go to this next hop."""
    if hop is None:
        return None

    def may(domain: bytes, sender: bytes | None) -> bool | None:
        name = None if sender is None else sender.decode(errors="replace")
        key = sight.hop_at(domain.decode(errors="replace"), name)
        if key is None:
            return None if sender is None else True
        return _leads(hop, key)

    return may


async def waiting_at(store: Store, domain: str) -> list[int]:
    """Ids of all that waits at a domain, ascending."""
    ids: list[int] = []
    at = keys.waiting(domain)
    end = keys.after(at)
    while found := await store.scan(keys.QUEUE, at, end, PAGE):
        ids += [int.from_bytes(key[-8:], "big") for key, _ in found]
        at = found[-1][0] + b"\x00"
    return sorted(ids)
