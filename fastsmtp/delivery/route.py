"""Whose an address is, asked again when the mail is delivered.

The answer at RCPT is not kept: an alias or an account may have changed since.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from fastsmtp.auth.accounts import Account
from fastsmtp.policy.recipients import Foreign, Relayed, Unknown, Verdict


class Destination(NamedTuple):
    """An account that gets a copy: its partition, its address in lower case."""

    part: int
    address: str


class NoRoute(Exception):
    """Nobody here gets it now; the text says why, for the entry and for people."""


class Elsewhere(NoRoute):
    """It is no domain of ours."""


class Route:
    """From an address to accounts; remembers what it found until `changed`.

    known    addresses and what they came to; another one after each change
    resolve  `policy.recipients.Recipients.resolve`
    lookup   `auth.accounts.Directory.lookup`
    """

    LIMIT: Final = 100_000  # addresses remembered

    def __init__(
        self,
        resolve: Callable[[str], Verdict],
        lookup: Callable[[str], Account | None],
    ) -> None:
        self._resolve = resolve
        self._lookup = lookup
        self.known: dict[str, tuple[Destination, ...]] = {}

    def __call__(self, address: str) -> tuple[Destination, ...]:
        """Every account that is to get a copy, at least one. Raises `NoRoute`."""
        return self.known.get(address) or self._find(address)

    def _find(self, address: str) -> tuple[Destination, ...]:
        known = self.known  # before asking: a change meanwhile leaves this one behind
        verdict = self._resolve(address)
        if isinstance(verdict, Unknown):
            raise NoRoute("no such user here")
        if isinstance(verdict, Foreign | Relayed):
            raise Elsewhere("not a domain of ours")
        if verdict.foreign:
            raise Elsewhere("an alias leads to other servers, too")
        found = []
        for name in verdict.accounts:
            account = self._lookup(name)
            if account is None:
                raise NoRoute(f"the account {name} behind it is gone")
            found.append(Destination(account.id, name))
        if len(known) >= self.LIMIT:
            known.clear()
        destinations = known[address] = tuple(found)
        return destinations

    def changed(self) -> None:
        """Accounts or aliases have changed: ask again. From any thread."""
        self.known = {}
