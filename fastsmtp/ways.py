"""Where mail goes and whom it is taken for, as the configuration says; for those who
know no accounts."""

from collections.abc import Callable, Mapping
from pathlib import Path

from fastsmtp.config import Config
from fastsmtp.policy.options import RelayDomainOptions
from fastsmtp.policy.recipients import Passed, names_in
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


def passed(
    relay_domains: Mapping[str, RelayDomainOptions],
    failed: Callable[[str, Exception], None],
) -> dict[str, Passed]:
    """What is known of the recipients of each relay domain. When a file cannot be read
    any more, all are taken: that is our trouble, and must cost nobody his mail;
    `failed` is told."""
    found = {}
    for domain, options in relay_domains.items():
        names = frozenset(name.lower() for name in options.recipients)
        if options.recipients_file:
            try:
                text = Path(options.recipients_file).read_text()
            except (OSError, UnicodeDecodeError) as error:
                failed(f"the recipients of {domain}", error)
                found[domain] = Passed(None, options.call_ahead)
                continue
            names |= names_in(text, domain)[0]
        found[domain] = Passed(names or None, options.call_ahead)
    return found
