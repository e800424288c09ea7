"""Whether a user may send from an address (RFC 6409 6.1): one pure decision.

A login may use

- its own address and its +tags,
- aliases that lead to it, also when they lead to others as well,
- what `submission.senders` gives it: addresses with their +tags, "@domain", "*".

A catch-all gives nothing: that mail for any name arrives does not make the name yours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Known, Local, Recipients, split
from fastsmtp.wire.address import split_tag

SEPARATOR: Final = "+"


class Senders:
    """The addresses of each login.

    domains  as `policy.recipients` is given them
    known    asks the directory whether there is such an account
    more     by login: "*", "@domain" or addresses
    """

    def __init__(
        self,
        domains: Mapping[str, DomainOptions],
        known: Known,
        more: Mapping[str, Iterable[str]],
    ) -> None:
        strict = {n: replace(o, catch_all="") for n, o in domains.items()}
        self._resolve = Recipients(strict, known, separator=SEPARATOR).resolve
        self._more = {
            login.lower(): frozenset(address.lower() for address in addresses)
            for login, addresses in more.items()
        }

    def allows(self, login: str, address: str) -> bool:
        """`address` is a mailbox without brackets, in any case; `login` in lower
        case."""
        if not split(address)[1]:
            return False
        if self.gives(login, address):
            return True
        verdict = self._resolve(address)
        return isinstance(verdict, Local) and login in verdict.accounts

    def gives(self, login: str, address: str) -> bool:
        """Whether `more` alone gives it."""
        local, domain = split(address)
        return self._given(self._more.get(login, frozenset()), local, domain)

    @staticmethod
    def _given(more: frozenset[str], local: str, domain: str) -> bool:
        if not more:
            return False
        base, _ = split_tag(local, SEPARATOR)
        meant = ("*", f"@{domain}", f"{local}@{domain}", f"{base}@{domain}")
        return any(each in more for each in meant)
