"""House rules as a hook of fastsmtp.

[hooks.house]
module = "house_rules.py"
options = { retired = ["old@example.org"], partners = ["192.0.2.0/24"] }
"""

import ipaddress
from dataclasses import dataclass

from fastsmtp.hooks import Accept, Body, Defer, Facts, Reject, Verdict
from fastsmtp.options import NETWORKS, SWITCH, TEXTS, option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Read like every other setting: `fastsmtp check` says what is wrong with them."""

    retired: list[str] = option([], "addresses that nobody reads any more", TEXTS)
    partners: list[str] = option([], "networks that may send programs", NETWORKS)
    closed: bool = option(False, "take no mail for now", SWITCH)


class Hook:
    def __init__(self, options: Options) -> None:
        self.closed = options.closed
        self.retired = {address.lower() for address in options.retired}
        self.partners = [ipaddress.ip_network(network) for network in options.partners]

    async def mail(self, facts: Facts) -> Verdict:
        return Defer("We move house, try again in an hour") if self.closed else None

    async def rcpt(self, facts: Facts, address: str) -> Verdict:
        if address.lower() in self.retired:
            return Reject(f"{address} is not read any more", 550, "5.1.1")
        return None

    def message(self, facts: Facts, body: Body) -> Verdict:
        """Not async, because parsing takes its time: this runs in a thread."""
        names = [part.get_filename() or "" for part in body.parse().walk()]
        programs = [name for name in names if name.lower().endswith((".exe", ".js"))]
        if not programs:
            return Accept([("X-House-Rules", "kept")])
        if self.is_partner(facts.client):
            return Accept([("X-House-Rules", f"program of a partner: {programs[0]}")])
        return Reject("Programs are not taken", 554, "5.7.1")

    def is_partner(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self.partners)
