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


class NoUser(NoRoute):
    """The domain is ours, and nobody there has this name: no other attempt will find
    anybody."""


class Elsewhere(NoRoute):
    """Other servers get it, too, or they alone.

    here   accounts that get a copy
    there  addresses to which it is to be sent
    """

    def __init__(self, here: tuple[Destination, ...], there: tuple[str, ...]) -> None:
        super().__init__(f"leads to {', '.join(there)}")
        self.here = here
        self.there = there


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
        """Every account that is to get a copy, at least one. Raises `NoRoute`,
        `NoUser` when there will be none, `Elsewhere` when accounts are not all."""
        return self.known.get(address) or self._find(address)

    def _find(self, address: str) -> tuple[Destination, ...]:
        known = self.known  # before asking: a change meanwhile leaves this one behind
        verdict = self._resolve(address)
        if isinstance(verdict, Unknown):
            raise NoUser("no such user here")
        if isinstance(verdict, Foreign | Relayed):
            raise Elsewhere((), (address,))
        found = []
        for name in verdict.accounts:
            account = self._lookup(name)
            if account is None:
                raise NoRoute(f"the account {name} behind it is gone")
            found.append(Destination(account.id, name))
        destinations = tuple(found)
        if verdict.foreign:
            raise Elsewhere(destinations, verdict.foreign)
        if len(known) >= self.LIMIT:
            known.clear()
        known[address] = destinations
        return destinations

    def is_here(self, address: str) -> bool:
        """Whether it is an account or alias of ours, and not for another server."""
        try:
            self(address)
        except Elsewhere as away:
            return address not in away.there
        except NoRoute:
            return True
        return True

    def changed(self) -> None:
        """Accounts or aliases have changed: ask again. From any thread."""
        self.known = {}


def reason(error: Exception) -> str:
    """What an entry keeps of an error: people read it with `queue show`."""
    if isinstance(error, NoRoute):
        return str(error)
    return f"{type(error).__name__}: {error}"[:200]
