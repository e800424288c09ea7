"""Where mail goes, as the configuration says; for those who know no accounts."""

from fastsmtp.config import Config
from fastsmtp.policy.relaying import Relaying
from fastsmtp.queue.message import Queued, Target
from fastsmtp.queue.selection import HopAt, HopOf


def relaying(config: Config) -> Relaying:
    return Relaying(
        *(config.domains, config.relay_domains, config.relay),
        *(config.destinations, config.send.tls),
    )


def hop_of(table: Relaying) -> HopOf:
    """The key of the next hop of a recipient of a queued message."""

    def find(queued: Queued, target: Target) -> str:
        if queued.via:
            return table.through(queued.via, target.address).key
        return table.next_hop(queued.envelope.reverse_path, target.address).key

    return find


def hop_at(table: Relaying) -> HopAt:
    """The same by domain and sender, see `queue.selection.Sight`."""

    def find(domain: str, sender: str | None) -> str | None:
        if sender is None and table.asks_sender(domain):
            return None
        return table.next_hop(sender or "", f"anybody@{domain}").key

    return find
