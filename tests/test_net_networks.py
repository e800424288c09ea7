"""Whether an address is in one of many networks: as `ipaddress` says it."""

import ipaddress
import random

import pytest

from fastsmtp.net.networks import Networks

LISTED = ("192.0.2.0/24", "198.51.100.7/32", "10.0.0.0/8", "2001:db8::/32", "::1/128")


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.255", True),
        ("192.0.3.0", False),
        ("198.51.100.7", True),
        ("198.51.100.8", False),
        ("10.255.0.1", True),
        ("2001:db8:ffff::1", True),
        ("2001:db9::", False),
        ("::1", True),
        ("fe80::1%eth0", False),
        ("unix", False),
        ("", False),
    ],
)
def test_inside_or_not(address: str, inside: bool) -> None:
    assert (address in Networks(LISTED)) == inside


def test_it_agrees_with_the_library() -> None:
    pick = random.Random(1)
    for _ in range(200):
        texts = [
            str(
                ipaddress.ip_network((pick.getrandbits(32), pick.randint(0, 32)), False)
            )
            for _ in range(5)
        ]
        networks = [ipaddress.ip_network(text) for text in texts]
        asked = Networks(texts)
        for _ in range(20):
            near = int(pick.choice(networks).network_address) ^ pick.getrandbits(9)
            address = ipaddress.IPv4Address(near & 0xFFFFFFFF)
            assert (str(address) in asked) == any(address in n for n in networks)


def test_none_and_everything() -> None:
    assert not Networks(())
    assert "192.0.2.1" not in Networks(())
    assert "192.0.2.1" in Networks(["0.0.0.0/0"])
    assert Networks(["::/0"])


def test_ipv4_on_a_socket_of_ipv6_is_ipv4() -> None:
    assert "::ffff:192.0.2.7" in Networks(["192.0.2.0/24"])
    assert "::ffff:198.51.100.7" not in Networks(["192.0.2.0/24"])
