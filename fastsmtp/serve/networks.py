"""What counts as one client: its network, not its address."""

import socket


def network_of(address: str) -> tuple[str, str | bytes]:
    """Family, and what counts as one client: an IPv4 address, an IPv6 /64."""
    if ":" in address:
        return "ipv6", socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8]
    return ("ipv4" if "." in address else "other"), address
