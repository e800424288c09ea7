"""Which hosts take mail for a domain, and under which addresses (RFC 5321 5.1).

    search = Search(resolver, hostname, ours)
    found = await search.find("example.org")
    for host in found.hosts:            # in the order they are to be tried
        host.name, host.addresses       # in the order they are to be dialled

Laws
- What the DNS says for certain decides; that it says nothing is never for ever: a
  server that is silent, refuses or fails makes it `CannotFind` with 451.
- Of MX hosts the better preference comes first, equal ones by chance. A host that is
  ourselves is dropped together with all that are no better (RFC 5321 5.1): they would
  only bring the mail back.
- Whatever stands in the DNS, a bounded number of hosts and addresses is looked at.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import socket
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import chain, zip_longest
from typing import Any, Final, NamedTuple, Protocol

from fastsmtp.errors import DnsTrouble, NoData, NoRecord, NoSuchName

PORT: Final = 25
HOSTS_MOST: Final = 10  # of one domain that are looked up, the best ones
ADDRESSES_MOST: Final = 8  # of one host that are dialled
UNDER_WAY: Final = 400  # questions at once; more wait for their turn
GROUP_MOST: Final = 120  # characters of the name of a group


class Asked(Protocol):
    """The resolver; see `net.dns.Resolver`."""

    async def ask(self, kind: str, name: str) -> tuple[Any, ...]: ...

    def known(self, kind: str, name: str) -> tuple[Any, ...] | Exception | None: ...


class Host(NamedTuple):
    """name       as a certificate is to have it; "" for an address alone
    addresses  IP addresses in the order to be dialled (RFC 8305 4), at least one
    preference  of its MX record; 0 without one"""

    name: str
    addresses: tuple[str, ...]
    preference: int = 0


class Exchangers(NamedTuple):
    """hosts  in the order to be tried, at least one
    group  equal for domains whose mail goes to the same hosts: what limits the one
           limits the other
    mx     whether MX records named them"""

    hosts: tuple[Host, ...]
    group: str
    mx: bool = False


class CannotFind(Exception):
    """Nobody can be connected to.

    code, enhanced, text  as if a server had answered so; from 500 on it is for ever"""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(f"{code} {enhanced} {text}")
        self.code = code
        self.enhanced = enhanced
        self.text = text


class Search:
    """resolver  of this process
    names     this server's own: an MX host of such a name is ourselves
    ours      whether we take mail ourselves at this address and port
    local     addresses of names that this machine knows without the DNS, for next hops
              that the operator names: see `HostsFile`
    shuffle   in place; fair
    reachable  whether there is a route to an address
    """

    def __init__(
        self,
        resolver: Asked,
        names: Iterable[str] = (),
        ours: Callable[[str, int], bool] = lambda address, port: False,
        local: Callable[[str], tuple[str, ...]] = lambda name: (),
        *,
        shuffle: Callable[[list[Any]], None] = random.shuffle,
        reachable: Callable[[str], bool] | None = None,
    ) -> None:
        self._resolver = resolver
        self._names = frozenset(name.lower().rstrip(".") for name in names)
        self._ours = ours
        self._local = local
        self._shuffle = shuffle
        self._reachable = reachable or has_route
        self._turn = asyncio.Semaphore(UNDER_WAY)

    async def find(self, name: str, *, mx: bool = True, port: int = PORT) -> Exchangers:
        """`name` is a domain or host as it stands in the DNS, or an IP address.

        mx    its MX records name the hosts, and without any it is the host itself
        port  to be connected to; some other server may serve another one

        Raises `CannotFind`."""
        if _is_address(name):
            if self._ours(name, port):
                raise _loop(f"[{name}]")
            return Exchangers((Host("", (name,)),), f"[{name}]")
        name = name.lower().rstrip(".")
        if not mx:
            return await self._alone(name, port, named=True)
        try:
            records = await self._ask("MX", name)
        except NoSuchName:
            raise CannotFind(
                550, "5.1.2", f"The domain {name} does not exist"
            ) from None
        except NoData:
            return await self._alone(name, port)
        except DnsTrouble as trouble:
            raise _trouble(f"MX records of {name}", trouble) from None
        return await self._exchangers(name, records, port)

    async def _alone(self, name: str, port: int, named: bool = False) -> Exchangers:
        """One host. `named`: by the operator, who may mean this machine."""
        if not named and name in self._names:
            raise _loop(name)
        addresses = self._local(name) if named else ()
        try:
            addresses = addresses or await self._addresses(name)
        except NoRecord as none:
            if named:
                raise _misnamed(name, none) from None
            if isinstance(none, NoSuchName):
                text = f"The host {name} does not exist"
                raise CannotFind(550, "5.1.2", text) from None
            text = f"{name} has neither MX records nor an address"
            raise CannotFind(550, "5.4.4", text) from None
        except DnsTrouble as trouble:
            raise _trouble(f"addresses of {name}", trouble) from None
        if any(self._ours(address, port) for address in addresses):
            raise _loop(name)
        return Exchangers((self._host(name, addresses),), name)

    async def _exchangers(
        self, domain: str, records: tuple[tuple[int, str], ...], port: int
    ) -> Exchangers:
        named = {host: p for p, host in sorted(records, reverse=True) if host}
        if not named:  # RFC 7505: one record, whose host is the root
            text = f"{domain} takes no mail (null MX)"
            raise CannotFind(556, "5.1.10", text)
        limit = min((named[n] for n in self._names & named.keys()), default=1 << 16)
        mixed = [(p, host) for host, p in named.items() if p < limit]
        self._shuffle(mixed)
        mixed.sort(key=lambda each: each[0])
        best = mixed[:HOSTS_MOST]
        answers = await asyncio.gather(
            *(self._addresses(host) for _, host in best), return_exceptions=True
        )
        found, why = [], None
        for (preference, host), addresses in zip(best, answers, strict=True):
            if isinstance(addresses, DnsTrouble):
                why = why or _trouble(f"addresses of {host}", addresses)
            elif isinstance(addresses, NoRecord):
                continue
            elif isinstance(addresses, BaseException):
                raise addresses
            elif any(self._ours(address, port) for address in addresses):
                limit = min(limit, preference)
            else:
                found.append(self._host(host, addresses, preference))
        hosts = tuple(host for host in found if host.preference < limit)
        if hosts:
            return Exchangers(hosts, _group(named), True)
        if why is not None:
            raise why
        if limit < 1 << 16:
            raise _loop(domain)
        text = f"None of the MX hosts of {domain} has an address"
        raise CannotFind(550, "5.4.4", text)

    async def _addresses(self, host: str) -> tuple[str, ...]:
        """IPv4 and IPv6. Trouble with one of them is none when there is the other."""
        answers = await asyncio.gather(
            self._ask("A", host), self._ask("AAAA", host), return_exceptions=True
        )
        found: list[str] = []
        errors: list[BaseException] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                errors.append(answer)
            else:
                found += answer
        if found:
            return tuple(found)
        worst = [e for e in errors if not isinstance(e, NoRecord)]
        raise (worst or errors)[0]

    def _host(self, name: str, addresses: tuple[str, ...], preference: int = 0) -> Host:
        return Host(name, in_order(addresses, self._reachable), preference)

    async def _ask(self, kind: str, name: str) -> tuple[Any, ...]:
        if self._resolver.known(kind, name) is not None:
            return await self._resolver.ask(kind, name)
        async with self._turn:
            return await self._resolver.ask(kind, name)


def in_order(
    addresses: Iterable[str], reachable: Callable[[str], bool]
) -> tuple[str, ...]:
    """IPv6 and IPv4 in turns, IPv6 first (RFC 8305 4); what there is no route to comes
    last (RFC 6724 6, rule 1), and is not left out: routes come and go. At most
    `ADDRESSES_MOST`, with both families among them."""
    families: tuple[list[str], list[str]] = [], []
    for address in dict.fromkeys(addresses):
        families[":" not in address].append(address)
    turns = chain.from_iterable(zip_longest(*families))
    few = [address for address in turns if address is not None][:ADDRESSES_MOST]
    if all(families):
        few.sort(key=lambda address: not reachable(address))
    return tuple(few)


def has_route(address: str) -> bool:
    """Whether this machine knows a way there; nothing is sent to find out."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, PORT))
    except OSError:
        return False
    return True


def is_here(address: str) -> bool:
    """Whether this machine has the address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return True


class Ours:
    """Whether an address and port is one that this server listens on.

    listening  host and port of each listener of SMTP; "0.0.0.0" and "::" are every
               address that this machine has"""

    def __init__(
        self,
        listening: Iterable[tuple[str, int]],
        here: Callable[[str], bool] = is_here,
    ) -> None:
        self._listening = frozenset(listening)
        self._every = {
            (ipaddress.ip_address(host).version, port)
            for host, port in self._listening
            if host in ("0.0.0.0", "::")
        }
        self._here = here

    def __call__(self, address: str, port: int) -> bool:
        ip = ipaddress.ip_address(address)
        if ip.version == 6 and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if ip.is_unspecified or (str(ip), port) in self._listening:
            return True
        both = (6, port) in self._every  # a socket on "::" takes IPv4 too
        return (both or (ip.version, port) in self._every) and self._here(str(ip))


class HostsFile:
    """Names that the machine knows by itself; read again when the file changes."""

    def __init__(self, path: str = "/etc/hosts") -> None:
        self._path = path
        self._read: tuple[int, int] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

    def __call__(self, name: str) -> tuple[str, ...]:
        try:
            status = os.stat(self._path)
            seen = status.st_mtime_ns, status.st_size
            if seen != self._read:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._names = _hosts(file)
                self._read = seen
        except OSError:
            return ()
        return self._names.get(name.lower(), ())


def _hosts(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """hosts(5): an address and its names on each line."""
    names: dict[str, tuple[str, ...]] = {}
    for line in lines:
        address, *words = line.partition("#")[0].split() or ("",)
        if _is_address(address):
            for word in words:
                names[word.lower()] = (*names.get(word.lower(), ()), address)
    return names


def _group(names: Iterable[str]) -> str:
    """One name for a set of hosts: short, the same whatever order they came in."""
    text = "+".join(sorted(names))
    if len(text) <= GROUP_MOST:
        return text
    mark = blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{text.partition('+')[0][: GROUP_MOST - 20]}+{mark}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _loop(name: str) -> CannotFind:
    text = f"Mail for {name} would come back here: it names this server"
    return CannotFind(554, "5.4.6", text)


def _misnamed(name: str, none: NoRecord) -> CannotFind:
    """Our own mistake, or the DNS of our network: mail waits until it is mended."""
    what = "does not exist" if isinstance(none, NoSuchName) else "has no address"
    text = f"The host {name}, which the configuration names, {what}"
    return CannotFind(451, "4.3.5", text)


def _trouble(what: str, trouble: DnsTrouble) -> CannotFind:
    return CannotFind(451, "4.4.3", f"The DNS did not tell the {what}: {trouble}")
