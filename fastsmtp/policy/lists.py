"""DNS lists of addresses, with scores (RFC 5782): blocklists, and allowlists below 0.

    zone = List("zen.example.net", options)
    zone.question("192.0.2.7")          # "7.2.0.192.zen.example.net"
    zone.score(("127.0.0.2",))          # what being listed so counts; None: is not

A list answers with addresses in 127.0.0.0/8 that say why. What else comes is no answer
of a list: its domain has new owners, or the resolver lies. 127.255.255.0/24 says that
it refuses to answer us (too many questions, a public resolver): no score, and trouble.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from fastsmtp.errors import DnsTrouble
from fastsmtp.policy.options import ListOptions

LISTED: Final = ipaddress.ip_network("127.0.0.0/8")
REFUSED: Final = ipaddress.ip_network("127.255.255.0/24")
TEXT_MOST: Final = 200  # characters of a list's own words in a reply


def code_range(text: str) -> tuple[int, int]:
    """First and last of "127.0.0.2" or "127.0.0.4-7", as numbers.

    Raises `ValueError` with a sentence that says what is wrong."""
    first, dash, last = text.partition("-")
    try:
        low = ipaddress.IPv4Address(first)
    except ValueError:
        raise ValueError("is no IPv4 address") from None
    if low not in LISTED:
        raise ValueError("is not in 127.0.0.0/8, where lists answer")
    if not dash:
        return int(low), int(low)
    octet = int(low) & 0xFF
    if not last.isdecimal() or not octet <= int(last) <= 255:
        raise ValueError("has no range of last octets behind it, such as 127.0.0.4-7")
    return int(low), int(low) - octet + int(last)


class List:
    """One list. `zone` is its domain, `most` the highest score it can give."""

    def __init__(self, zone: str, options: ListOptions) -> None:
        self.zone = zone
        self.text = options.text
        self._any = options.score
        self._codes = [(*code_range(c), score) for c, score in options.codes.items()]
        if self._codes:
            self.most = sum(score for *_, score in self._codes if score > 0)
        else:
            self.most = max(0.0, options.score)

    def question(self, address: str) -> str:
        """The name under which the list has an IP address."""
        pointer = ipaddress.ip_address(address.partition("%")[0]).reverse_pointer
        return f"{pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}." + (
            self.zone
        )

    def score(self, records: Iterable[str]) -> float | None:
        """With codes, each that is among the answers counts once; None: not listed.

        Raises `DnsTrouble` when the list refuses to answer."""
        found = [ipaddress.IPv4Address(record) for record in records]
        if any(record in REFUSED for record in found):
            raise DnsTrouble(f"{self.zone} refuses to answer")
        listed = [int(record) for record in found if record in LISTED]
        if not listed:
            return None
        if not self._codes:
            return self._any
        hits = [
            score
            for low, high, score in self._codes
            if any(low <= record <= high for record in listed)
        ]
        return sum(hits) if hits else None

    def words(self, address: str, records: Iterable[bytes]) -> str:
        """What a refused client is told: the operator's text, else the list's own, of
        which nothing but plain ASCII on one line is passed on."""
        if self.text:
            return self.text.replace("{address}", address)
        for record in records:
            said = "".join(chr(c) for c in record if 32 <= c < 127).strip()
            if said:
                return said[:TEXT_MOST]
        return f"{address} is listed by {self.zone}"
