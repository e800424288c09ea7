"""The listening sockets of a server: bound here, or inherited from systemd.

A receiver is given one set of each address's sockets, and so is a reader of its own
kinds. There is a set for each of them when the addresses were bound here at the start,
so that the kernel spreads connections (SO_REUSEPORT); with less sets than receivers
some share, with more some have several: every socket has somebody who accepts, whatever
a reload makes of the number.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from fastsmtp.config import Config
from fastsmtp.net.listener import CannotListen, bind, name_of
from fastsmtp.options import unix_path
from fastsmtp.pop3.counts import LISTENERS as READ
from fastsmtp.smtp.counts import LISTENERS as RECEIVE

KINDS: Final = {"receive": RECEIVE, "read": READ}
"""Kinds of listeners by the role that accepts there."""
WATCH: Final = "metrics"
INHERITED: Final = "systemd"  # stands for the address of what was bound by others

ONLY_IPV6: Final = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)

Key = tuple[str, str]
"""Kind of listener (one of `KINDS`, or WATCH) and address."""
Sets = list[list[socket.socket]]


class Doors:
    """The sockets by kind and address, bound before a worker or a store is opened.

    inherited  by kind; such a kind listens there and nowhere else

    Raises `CannotListen`.
    """

    def __init__(
        self,
        config: Config,
        receivers: int,
        inherited: Mapping[str, Sequence[socket.socket]] | None = None,
    ) -> None:
        self._inherited = dict(inherited or {})
        self._sets: dict[Key, Sets] = {
            (kind, INHERITED): [[sock] for sock in sockets]
            for kind, sockets in self._inherited.items()
        }
        try:
            for key in self._wanted(config):
                if key not in self._sets:
                    copies = receivers if key[0] in RECEIVE else 1
                    copies = config.processes.readers if key[0] in READ else copies
                    self._sets[key] = bound(key[1], copies)
        except OSError:
            self.close()
            raise

    def _wanted(self, config: Config) -> list[Key]:
        every = {**config.listeners, WATCH: [config.metrics.listen]}
        given = {kind: [INHERITED] for kind in self._inherited}
        return [
            (kind, address)
            for kind, addresses in {**every, **given}.items()
            for address in addresses
            if address
        ]

    @property
    def watch(self) -> list[socket.socket]:
        """Sockets of the HTTP endpoint of Prometheus."""
        kinds = ((kind, sets) for (kind, _), sets in self._sets.items())
        return [sock for kind, sets in kinds if kind == WATCH for sock in sets[0]]

    def places(
        self, config: Config, count: int, role: str = "receive"
    ) -> list[dict[str, list[socket.socket]]]:
        """For each of so many processes of a role the sockets that this configuration
        names, by kind."""
        places: list[dict[str, list[socket.socket]]] = [{} for _ in range(count)]
        for kind, address in self._wanted(config):
            if kind not in KINDS[role]:
                continue
            sets = self._sets[kind, address]
            for number, place in enumerate(places):
                mine = sets[number::count] or [sets[number % len(sets)]]
                place.setdefault(kind, []).extend(chain(*mine))
        return places

    def open_more(self, config: Config) -> list[Key]:
        """Bind the addresses that are new in this configuration; gives their keys.

        Raises `CannotListen`, and then nothing has changed."""
        opened: list[Key] = []
        try:
            for key in self._wanted(config):
                if key not in self._sets:
                    self._sets[key] = bound(key[1], 1)
                    opened.append(key)
        except CannotListen:
            self.shut(opened)
            raise
        return opened

    def shut(self, keys: Iterable[Key]) -> None:
        for key in keys:
            for sock in chain(*self._sets.pop(key)):
                sock.close()

    def shut_others(self, config: Config) -> None:
        """Close what this configuration does not name any more."""
        wanted = self._wanted(config)
        self.shut([key for key in self._sets if key not in wanted])

    def _names(self) -> Iterator[str]:
        for (kind, _), sets in self._sets.items():
            for sock in sets[0] if kind != WATCH else ():
                name = name_of(sock)
                yield name if kind == "smtp" else f"{name} ({kind})"

    @property
    def addresses(self) -> str:
        """Where mail is taken, for people: host:port, comma separated."""
        return ", ".join(self._names())

    def close(self) -> None:
        self.shut(list(self._sets))


def bound(address: str, copies: int) -> Sets:
    """So many sets of sockets on one address; one on a path, which all receivers
    share. Raises `CannotListen`."""
    sets: Sets = []
    copies = 1 if unix_path(address) else copies
    try:
        for _ in range(copies):
            sets.append(bind(address, share=copies > 1))
    except OSError:
        for sock in chain(*sets):
            sock.close()
        raise
    return sets


def sort_inherited(
    config: Config, given: Sequence[tuple[str, socket.socket]]
) -> dict[str, list[socket.socket]]:
    """By kind of listener what systemd passed under names.

    A name is a kind (FileDescriptorName=submission); what has another name belongs to
    the kind that is configured for the same port. Raises `OSError` when neither
    says what a socket is for, or when clients of IPv4 could not be told apart on it."""
    kinds = {**config.listeners, WATCH: [config.metrics.listen]}
    ports = {
        address.rpartition(":")[2]: kind
        for kind, addresses in kinds.items()
        for address in addresses
    }
    found: dict[str, list[socket.socket]] = {}
    for name, sock in given:
        if sock.family == socket.AF_INET6 and not sock.getsockopt(*ONLY_IPV6):
            text = f"{name!r} takes IPv4 by IPv6; set BindIPv6Only=ipv6-only"
            raise OSError(errno.EINVAL, text, "socket activation")
        port = name_of(sock).rpartition(":")[2]
        kind = name if name in kinds else ports.get(port)
        if kind is None:
            text = f"it passed port {port} as {name!r}; set FileDescriptorName= to"
            allowed = ", ".join(kinds)
            raise OSError(errno.EINVAL, f"{text} one of {allowed}", "socket activation")
        found.setdefault(kind, []).append(sock)
    return found


def why_not(error: CannotListen) -> str:
    """What an operator can do when a reload cannot bind."""
    if error.errno == errno.EACCES:
        return f"{error.strerror}: this process gave up root; restart the server"
    return error.strerror or os.strerror(error.errno or 0)
