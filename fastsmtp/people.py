"""Who has mail here, as a process knows it; see `fastsmtp.roles`."""

from __future__ import annotations

from collections.abc import (
    Callable,
)

from fastsmtp.auth.accounts import Directory
from fastsmtp.config import Config
from fastsmtp.delivery.route import Route
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Recipients, Verdict
from fastsmtp.store import keys
from fastsmtp.store.lmdb import LmdbStore
from fastsmtp.ways import passed, relaying


class People:
    """Accounts and how addresses resolve to them; cached until a change of accounts.

    domains   of this server; stays one object when `change` gives it new ones
    relaying  where mail for others goes
    fault     told when a file of recipients cannot be read
    """

    def __init__(
        self,
        config: Config,
        store: LmdbStore,
        fault: Callable[[str, Exception], None] = lambda what, error: None,
    ) -> None:
        self.directory = Directory(
            lambda name: store.peek(keys.DIRECTORY, keys.account(name))
        )
        self.domains: dict[str, DomainOptions] = {}
        self._fault = fault
        self._set(config)
        self.route = Route(self.resolve, self.directory.lookup)
        self.forget = store.watch(keys.DIRECTORY, self.changed)

    def _set(self, config: Config) -> None:
        lookup = self.directory.lookup
        self.domains.clear()
        self.domains.update(config.domains)
        self.recipients = Recipients(
            self.domains,
            lambda name: lookup(name) is not None,
            passed=passed(config.relay_domains, self._fault),
        )
        self.relaying = relaying(config)
        self.relay_domains = config.relay_domains

    def resolve(self, address: str) -> Verdict:
        """See `policy.recipients.Recipients`."""
        return self.recipients.resolve(address)

    def changed(self) -> None:
        self.directory.changed()
        self.route.changed()

    def change(self, config: Config) -> None:
        """Other domains, aliases or ways to others."""
        self._set(config)
        self.route.changed()
