"""What counts as one client: its network, not its address."""

import ipaddress
import socket
from collections.abc import Callable
from functools import partial

Network = str | bytes
NetworkOf = Callable[[str], tuple[str, Network]]


def network_of(address: str) -> tuple[str, Network]:
    """Family, and what counts as one client: an IPv4 address, an IPv6 /64."""
    if ":" in address:
        return "ipv6", socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8]
    return ("ipv4" if "." in address else "other"), address


def is_loopback(address: str) -> bool:
    """Whether a client speaks to us from our own machine."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def grouping(ipv4: int, ipv6: int) -> NetworkOf:
    """`network_of` for prefixes of these lengths, in bits."""
    if (ipv4, ipv6) == (32, 64):
        return network_of
    return partial(_network, ipv4, ipv6)


def _network(ipv4: int, ipv6: int, address: str) -> tuple[str, Network]:
    if ":" in address:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
        return "ipv6", _prefix(packed, ipv6)
    if "." in address:
        return "ipv4", _prefix(socket.inet_aton(address), ipv4)
    return "other", address


def _prefix(packed: bytes, bits: int) -> bytes:
    shift = len(packed) * 8 - bits
    number = int.from_bytes(packed, "big") >> shift << shift
    return number.to_bytes(len(packed), "big")
