"""Sets of networks, and which network an address counts for."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


class Networks:
    """Asked in the time of a few dictionary look-ups, however many networks there are.

    `address in networks` is False for what is no IP address."""

    __slots__ = ("_found",)

    def __init__(self, networks: Iterable[str]) -> None:
        self._found: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for text in networks:
            network = ipaddress.ip_network(text)
            shift = network.max_prefixlen - network.prefixlen
            prefixes = self._found[network.version].setdefault(shift, set())
            prefixes.add(int(network.network_address) >> shift)

    def __bool__(self) -> bool:
        return any(self._found.values())

    def __contains__(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        number = int(found)
        prefixes = self._found[found.version]
        return any(number >> shift in known for shift, known in prefixes.items())
