"""Who receives mail for an address: one function, asked at RCPT and at delivery.

The order in which a local part is looked up, first hit wins:

    alias · account · alias or account without its +tag · postmaster · catch-all

An address that asks us to pass mail on (user%far@here, far!user@here,
"user@far"@here) is looked up as the plain name it is, and the catch-all does not take
it: nobody is to find out by trying whether we would relay.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fastsmtp.policy.options import DomainOptions
from fastsmtp.wire.address import split_tag, unquoted

Known = Callable[[str], bool]
"""True when an account has this address; it is given in lower case."""

POSTMASTER: Final = "postmaster"
_DEPTH: Final = 8  # aliases of aliases


@dataclass(frozen=True, slots=True)
class Local:
    """Ours: the accounts the mail goes to, each once, in lower case."""

    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """The domain is ours, but nobody there has this name."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Not our domain: taking this would be relaying."""


Verdict = Local | Unknown | Foreign
UNKNOWN: Final = Unknown()
FOREIGN: Final = Foreign()


def split(address: str) -> tuple[str, str]:
    """Local part (unquoted) and domain of a mailbox, both in lower case. What is not
    ASCII is composed (NFC): typed in two ways it is one name (RFC 6530 10.1).

    A source route in front is dropped (RFC 5321 appendix F.2). The domain is "" when
    there is none. The last "@" decides, so that an "@" inside quotes cannot choose
    the domain.
    """
    if not address.isascii():
        address = unicodedata.normalize("NFC", address)
    if address.startswith("@"):
        address = address.partition(":")[2]
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = domain, ""
    if len(local) >= 2 and local[0] == local[-1] == '"':
        local = unquoted(local)
    return local.lower(), domain.lower()


def as_written(domain: str) -> str:
    """A name in ASCII as people write it: xn--bcher-kva.test is bücher.test (RFC 5890
    2.3.2.1). What is no such name stays as it is."""
    labels = []
    for label in domain.split("."):
        if label.startswith("xn--"):
            try:
                label = label[4:].encode().decode("punycode")
            except UnicodeError:
                return domain
        labels.append(label)
    return unicodedata.normalize("NFC", ".".join(labels)).lower()


class Recipients:
    """The local domains and how addresses in them resolve.

    domains     by name, in the order of the configuration; the first is the one whose
                postmaster answers `RCPT TO:<Postmaster>`
    known       asks the directory; not cached here
    postmaster  address for postmasters that no domain defines; "" for none
    separator   what divides a name from its tag; "" switches subaddresses off
    """

    __slots__ = ("_domains", "_known", "_names", "_postmaster", "_separator")

    def __init__(
        self,
        domains: Mapping[str, DomainOptions],
        known: Known,
        postmaster: str = "",
        separator: str = "+",
    ) -> None:
        self._domains = {
            name.lower(): (
                options.catch_all.lower(),
                {k.lower(): tuple(v) for k, v in options.aliases.items()},
            )
            for name, options in domains.items()
        }
        self._names = {as_written(name): name for name in self._domains}
        self._names |= {name: name for name in self._domains}
        self._known = known
        self._postmaster = postmaster.lower()
        self._separator = separator

    def resolve(self, address: str) -> Verdict:
        """`address` is a mailbox as RCPT gave it, without the angle brackets."""
        local, domain = split(address)
        if not domain:
            return self._bare(local)
        name = self._names.get(domain)
        if name is None:
            return FOREIGN
        return self._found(self._expand(local, name, 0))

    def _bare(self, local: str) -> Verdict:
        """RFC 5321 4.5.1: Postmaster is the only name that needs no domain."""
        if local != POSTMASTER or not self._domains:
            return UNKNOWN
        return self._found(self._expand(POSTMASTER, next(iter(self._domains)), 0))

    @staticmethod
    def _found(accounts: Iterator[str]) -> Verdict:
        unique = tuple(dict.fromkeys(accounts))
        return Local(unique) if unique else UNKNOWN

    def _expand(self, local: str, domain: str, depth: int) -> Iterator[str]:
        """The accounts behind one name, duplicates included."""
        catch_all, aliases = self._domains[domain]
        names = [local]
        base, _ = split_tag(local, self._separator)
        if base != local:
            names.append(base)
        for name in names:
            if name in aliases:
                yield from self._targets(aliases[name], f"{name}@{domain}", depth)
                return
            if self._known(f"{name}@{domain}"):
                yield f"{name}@{domain}"
                return
        if POSTMASTER in names and self._postmaster and depth == 0:
            yield from self._targets((self._postmaster,), "", depth)
        elif catch_all and depth == 0 and not _asks_to_relay(local):
            yield from self._targets((catch_all,), "", depth)

    def _targets(
        self, targets: tuple[str, ...], alias: str, depth: int
    ) -> Iterator[str]:
        """Each target may be an account or an alias; an alias that names itself means
        the account of that name."""
        for target in targets:
            local, domain = split(target)
            if target.lower() == alias:
                if self._known(alias):
                    yield alias
            elif domain in self._domains and depth < _DEPTH:
                yield from self._expand(local, domain, depth + 1)


def _asks_to_relay(local: str) -> bool:
    return "%" in local or "!" in local or "@" in local
