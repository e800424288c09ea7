"""The name of a client: what DNS calls its address, if the name leads back to it."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from fastsmtp.errors import DnsTrouble, NoRecord
from fastsmtp.policy.resolver import Resolver

NAMES_MOST: Final = 3  # of one address that are looked at (RFC 8601 2.7.3: a bound)
HOST: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")
LONGEST: Final = 253  # octets of a name


async def confirmed_name(resolver: Resolver, address: str) -> str:
    """The first name of the address that has the address (RFC 8601 3, iprev); "" when
    there is none. Only what is a host name: anything may stand in the DNS.

    Raises `DnsTrouble` when nobody could say."""
    found = ipaddress.ip_address(address.partition("%")[0])
    kind = "A" if found.version == 4 else "AAAA"
    trouble: DnsTrouble | None = None
    try:
        names = await resolver.ask("PTR", found.reverse_pointer)
    except NoRecord:
        return ""
    for name in names[:NAMES_MOST]:
        if len(name) > LONGEST or not HOST.fullmatch(name):
            continue
        try:
            addresses = await resolver.ask(kind, name)
        except NoRecord:
            continue
        except DnsTrouble as error:
            trouble = error
            continue
        if found in map(ipaddress.ip_address, addresses):
            return str(name)
    if trouble is not None:
        raise trouble
    return ""
