"""What counts as one client: its network, not its address."""

import ipaddress
import socket


def network_of(address: str) -> tuple[str, str | bytes]:
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
