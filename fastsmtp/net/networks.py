"""Networks that the configuration names."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Networks:
    """Those of `options.NETWORKS`; `address in networks` asks.

    A client of IPv4 on a socket of IPv6 is looked up as the IPv4 address it has."""

    def __init__(self, named: Sequence[str]) -> None:
        self._networks: Final[tuple[Network, ...]] = tuple(
            ipaddress.ip_network(network) for network in named
        )

    def __contains__(self, address: str) -> bool:
        """`address` as a socket gives it, zone included; other text is in none."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._networks)
