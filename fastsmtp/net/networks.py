"""Sets of networks that the configuration names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


class Networks:
    """Those of `options.NETWORKS`; `address in networks` asks, in the time of a few
    dictionary look-ups, however many networks there are.

    A client of IPv4 on a socket of IPv6 is looked up as the IPv4 address it has."""

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
        """`address` as a socket gives it, zone included; other text is in none."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        number = int(found)
        prefixes = self._found[found.version]
        return any(number >> shift in known for shift, known in prefixes.items())
