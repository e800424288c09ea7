"""Who receives mail for an address: one function, asked at RCPT and at delivery.

The order in which a local part is looked up, first hit wins:

    alias · account · alias or account without its +tag · postmaster · relay domain ·
    catch-all

A relay domain is one whose mail is passed on to another server. It may be local, too:
then that server gets what nobody here does.

An address that asks us to pass mail on (user%far@here, far!user@here,
"user@far"@here) is looked up as the plain name it is, and neither the catch-all nor a
relay domain takes it unless it is listed: nobody is to find out by trying whether we,
or the server behind us, would relay.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
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
    """Ours: all of these get the mail.

    accounts  in lower case, each once; may be empty when `foreign` is not
    foreign   addresses of other servers that an alias leads to, as the configuration
              has them, each once: their mail is queued and sent there, with the
              envelope's own reverse-path. Some may be in relay domains of ours
    """

    accounts: tuple[str, ...]
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Relayed:
    """A relay domain: the mail is taken, queued and sent to the address itself.

    domain  its name in the configuration
    ask     whether nobody knows yet if there is such a recipient, so that the next hop
            is to be asked before the mail is taken; no matter once it was
    """

    domain: str
    ask: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """What is known of the recipients of a relay domain.

    names  local parts that exist, lower case; others do not, unless `ask`. None: all
           may exist
    ask    the next hop is asked about what is not in `names`
    """

    names: frozenset[str] | None = None
    ask: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """The domain is ours, but nobody there has this name."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Not our domain: taking this would be relaying."""


Verdict = Local | Relayed | Unknown | Foreign
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


def names_in(text: str, domain: str) -> tuple[frozenset[str], list[tuple[int, str]]]:
    """The local parts in a file of recipients, and its faults: line and sentence.

    One a line, with or without @domain; # begins a comment."""
    names, faults = set(), []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        local, there = split(word)
        if len(word.split()) > 1:
            faults.append((number, f'holds more than one word: "{word[:60]}"'))
        elif there not in ("", domain, as_written(domain)):
            faults.append((number, f'"{word[:60]}" is not in {domain}'))
        else:
            names.add(local)
    return frozenset(names), faults


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


class _Found:
    """What an address has come to so far; dicts are sets that keep their order."""

    __slots__ = ("accounts", "foreign")

    def __init__(self) -> None:
        self.accounts: dict[str, None] = {}
        self.foreign: dict[str, None] = {}


class Recipients:
    """The local domains and how addresses in them resolve.

    domains     by name, in the order of the configuration; the first is the one whose
                postmaster answers `RCPT TO:<Postmaster>`
    known       asks the directory; not cached here
    postmaster  address for postmasters that no domain defines; "" for none
    separator   what divides a name from its tag; "" switches subaddresses off
    passed      relay domains by name
    """

    __slots__ = (
        *("_domains", "_known", "_names", "_passed", "_postmaster", "_separator"),
        "_passed_names",
    )

    def __init__(
        self,
        domains: Mapping[str, DomainOptions],
        known: Known,
        postmaster: str = "",
        separator: str = "+",
        passed: Mapping[str, Passed] | None = None,
    ) -> None:
        self._domains = {
            name.lower(): (
                options.catch_all,
                {k.lower(): tuple(v) for k, v in options.aliases.items()},
            )
            for name, options in domains.items()
        }
        self._names = _by_name(self._domains)
        self._passed = {name.lower(): each for name, each in (passed or {}).items()}
        self._passed_names = _by_name(self._passed)
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
            passed = self._passed_names.get(domain)
            return FOREIGN if passed is None else self._pass(local, passed)
        found = _Found()
        if self._expand(local, name, found, 0):
            return _verdict(found)
        if name in self._passed:
            return self._pass(local, name)
        self._catch(local, name, found)
        return _verdict(found)

    def _bare(self, local: str) -> Verdict:
        """RFC 5321 4.5.1: Postmaster is the only name that needs no domain."""
        if local != POSTMASTER:
            return UNKNOWN
        for name in self._domains:
            return self.resolve(f"{POSTMASTER}@{name}")
        for name in self._passed:
            return Local((), (f"{POSTMASTER}@{name}",))
        return UNKNOWN

    def _pass(self, local: str, name: str) -> Verdict:
        """RFC 5321 4.5.1: Postmaster exists in each domain that takes mail."""
        passed = self._passed[name]
        base = split_tag(local, self._separator)[0]
        if local == POSTMASTER:
            return Relayed(name)
        if passed.names is not None and (local in passed.names or base in passed.names):
            return Relayed(name)
        if _asks_to_relay(local) or (passed.names is not None and not passed.ask):
            return UNKNOWN
        return Relayed(name, passed.ask)

    def _expand(self, local: str, domain: str, found: _Found, depth: int) -> bool:
        """Add what stands behind one name; whether there is such a name."""
        aliases = self._domains[domain][1]
        names = [local]
        base, _ = split_tag(local, self._separator)
        if base != local:
            names.append(base)
        for name in names:
            address = f"{name}@{domain}"
            if name in aliases:
                self._targets(aliases[name], address, found, depth)
                return True
            if self._known(address):
                found.accounts[address] = None
                return True
        if POSTMASTER in names and self._postmaster and depth == 0:
            self._targets((self._postmaster,), "", found, depth)
            return True
        return False

    def _catch(self, local: str, domain: str, found: _Found) -> None:
        catch_all = self._domains[domain][0]
        if catch_all and not _asks_to_relay(local):
            self._targets((catch_all,), "", found, 0)

    def _targets(
        self, targets: tuple[str, ...], alias: str, found: _Found, depth: int
    ) -> None:
        """Each target may be an account, an alias or far away; an alias that names
        itself means the account of that name, or who has it at the next hop."""
        for target in targets:
            local, domain = split(target)
            itself = target.lower() == alias
            name = self._names.get(domain)
            if name is None:
                found.foreign[target] = None
            elif itself and self._known(alias):
                found.accounts[alias] = None
            elif depth < _DEPTH:
                here = not itself and self._expand(local, name, found, depth + 1)
                if not here and name in self._passed:
                    found.foreign[target] = None


def _by_name(domains: Iterable[str]) -> dict[str, str]:
    """As people and as the DNS write a domain, to its name in the configuration."""
    names = {as_written(name): name for name in domains}
    return names | {name: name for name in domains}


def _verdict(found: _Found) -> Verdict:
    if not found.accounts and not found.foreign:
        return UNKNOWN
    return Local(tuple(found.accounts), tuple(found.foreign))


def _asks_to_relay(local: str) -> bool:
    return "%" in local or "!" in local or "@" in local
