"""Where mail goes next: one pure decision for each recipient.

    relaying = Relaying(domains, relay_domains, relay, destinations)
    hop = relaying.next_hop("alice@example.org", "bob@example.net")
    relaying.limits(hop)                # how much may go there at once

What fits first:

    relay domain · local domain · [[relay]] · the MX hosts of the recipient's domain

A domain may be local and relayed: who has an account or alias there is served here, and
never asked about; the others are at the next hop. Domains are compared as the DNS has
them: xn--bcher-kva.test is bücher.test (RFC 5890 2.3.2.1).
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from fastsmtp.options import split_address
from fastsmtp.policy.options import (
    DestinationOptions,
    RelayDomainOptions,
    RelayOptions,
    TlsLevel,
)
from fastsmtp.policy.recipients import split
from fastsmtp.wire.address import split_tag

Transport = Literal["smtp", "lmtp", "local", "discard", "refuse"]
Tls = Literal["none", "may", "encrypt", "verify"]

SMTP_PORT: Final = 25
LMTP_PORT: Final = 24
TLS_PORT: Final = 465
SOCKET_PATH: Final = 107  # octets in sun_path without its NUL (unix(7))
LABEL_MOST: Final = 63  # octets of one part of a name (RFC 1035 2.3.4)
NAME_MOST: Final = 253  # octets of a name with its dots
REMEMBERED: Final = 20_000  # next hops

_SCHEMES: Final[Mapping[str, tuple[Transport, int, bool, bool]]] = {
    "smtp": ("smtp", SMTP_PORT, False, False),
    "smtps": ("smtp", TLS_PORT, False, True),
    "mx": ("smtp", SMTP_PORT, True, False),
    "lmtp": ("lmtp", LMTP_PORT, False, False),
}
_WORDS: Final = "mx", "discard", "refuse"
_FORMS: Final = (
    'is none of "mx", "mx://domain", "smtp://host:port", "smtps://host:port",'
    ' "lmtp://host:port", "lmtp:///path", "discard" and "refuse"'
)


class Via(NamedTuple):
    """What the text of a next hop says; see `read_via`.

    host  "" with `mx`: the recipient's own domain; a path for LMTP through a socket
    port  0 for a path, and where nothing is connected to
    """

    transport: Transport
    host: str = ""
    port: int = 0
    mx: bool = False
    implicit_tls: bool = False


@dataclass(frozen=True, slots=True)
class NextHop:
    """Whom a message is given to, and how.

    transport     "smtp" or "lmtp": connect; "local": a mailbox here; "discard": nobody
                  gets it and nobody is told; "refuse": it is bounced
    host          `mx`: the domain whose MX hosts are looked up; else a host name, an IP
                  address, or for LMTP the path of a Unix socket (it begins with "/")
    port          0 where there is none
    tls           what is demanded; "may" is opportunistic
    implicit_tls  TLS begins with the connection (RFC 8314 3)
    credentials   key of `Relaying.logins`; "": no login
    text, enhanced  for "refuse": why, for people and programs
    key           equal for hops that may share connections, and only for them
    """

    transport: Transport
    host: str = ""
    port: int = 0
    mx: bool = False
    tls: Tls = "may"
    implicit_tls: bool = False
    credentials: str = ""
    text: str = ""
    enhanced: str = ""
    key: str = ""


class Login(NamedTuple):
    """Who we are at a next hop. The password stands in a file, whose path this is."""

    name: str
    secret_file: str


LOCAL: Final = NextHop("local", tls="none", key="local")
DIRECT: Final = Via("smtp", "", SMTP_PORT, mx=True)


def read_via(text: str) -> Via:
    """The meaning of `via` and `next_hop` in a configuration.

    Raises `ValueError` with a sentence that says what is wrong."""
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        if scheme not in _WORDS:
            raise ValueError(_FORMS)
        return DIRECT if scheme == "mx" else Via(scheme)  # type: ignore[arg-type]
    if scheme not in _SCHEMES:
        raise ValueError(_FORMS)
    transport, port, mx, implicit = _SCHEMES[scheme]
    if rest.startswith("/"):
        if transport != "lmtp":
            raise ValueError("has a path, which only lmtp:// may have")
        if len(rest.encode()) > SOCKET_PATH:
            raise ValueError(f"has a path longer than {SOCKET_PATH} octets")
        return Via("lmtp", rest)
    if "@" in rest or "/" in rest:
        raise ValueError(f"has more than a host and a port behind {scheme}://")
    has_port = ":" in (rest if rest[:1] != "[" else rest.rpartition("]")[2])
    host, port = split_address(rest if has_port else f"{rest}:{port}")
    if not port:
        raise ValueError("has the port 0, to which nobody can connect")
    return Via(transport, _host(host, mx), port, mx, implicit)


def _host(host: str, mx: bool) -> str:
    """As it is looked up, or the one way to write an address."""
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        name = in_dns(host)
        if name is None:
            raise ValueError(f'names "{host}", which is no host name') from None
        return name
    if mx:
        raise ValueError("is an IP address, which has no MX records")
    return address


def in_dns(domain: str) -> str | None:
    """A name as it stands in the DNS: bücher.test is xn--bcher-kva.test. None for what
    cannot stand there. No letter is exchanged for another one but its small form."""
    labels = []
    for label in unicodedata.normalize("NFC", domain).lower().split("."):
        if not label.isascii():
            label = "xn--" + label.encode("punycode").decode()
        plain = label.replace("-", "").replace("_", "").isalnum()
        if not plain or len(label) > LABEL_MOST:
            return None
        labels.append(label)
    name = ".".join(labels)
    return name if len(name) <= NAME_MOST else None


def literal(domain: str) -> str | None:
    """The address in [192.0.2.1] or [IPv6:2001:db8::1] (RFC 5321 4.1.3); "" when what
    stands in brackets is none; None when there are no brackets."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    text = domain[1:-1].lower()
    six = text.startswith("ipv6:")
    try:
        address = ipaddress.ip_address(text.removeprefix("ipv6:"))
    except ValueError:
        return ""
    return str(address) if six == (address.version == 6) else ""


def patterns_of(domain: str) -> Iterator[str]:
    """The names under which a table may have a domain, the narrowest first."""
    yield domain
    if not domain.startswith("["):
        labels = domain.split(".")
        for at in range(1, len(labels)):
            yield "." + ".".join(labels[at:])
    yield "*"


class _Row(NamedTuple):
    """A [[relay]] table: `senders` is None when anybody may be."""

    options: RelayOptions
    via: Via
    senders: frozenset[str] | None


class Relaying:
    """The whole table.

    domains        those with mailboxes here
    relay_domains  by name, what is passed on to one server
    relay          in order
    destinations   by name, limits and demands
    tls            what is demanded where no table says anything
    """

    def __init__(
        self,
        domains: Iterable[str] = (),
        relay_domains: Mapping[str, RelayDomainOptions] | None = None,
        relay: Sequence[RelayOptions] = (),
        destinations: Mapping[str, DestinationOptions] | None = None,
        tls: Tls = "may",
    ) -> None:
        self._tls = tls
        self._local = frozenset(_pattern(name) for name in domains)
        self._relayed = {
            _pattern(name): (options, read_via(options.next_hop))
            for name, options in (relay_domains or {}).items()
        }
        self._destinations = {
            _pattern(name): options for name, options in (destinations or {}).items()
        }
        self._rows = [_row(options) for options in relay]
        self._numbers: dict[str, list[int]] = {}
        for number, row in enumerate(self._rows):
            for pattern in row.options.to or ("*",):
                self._numbers.setdefault(_pattern(pattern), []).append(number)
        self.logins = {
            _credentials(row): Login(row.options.login, row.options.secret_file)
            for row in self._rows
            if row.options.login
        }
        self._known: dict[tuple[str, int], NextHop] = {}

    @property
    def refuses(self) -> bool:
        """Whether there is any recipient to whom nothing may be sent."""
        return any(row.via.transport == "refuse" for row in self._rows)

    def next_hop(self, reverse_path: str, recipient: str) -> NextHop:
        """Both as the envelope has them, without brackets; "" is the null path."""
        domain = split(recipient)[1]
        number = self._number(reverse_path, domain) if self._rows else -1
        hop = self._known.get((domain, number))
        if hop is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            hop = self._known[domain, number] = self._find(domain, number)
        return hop

    def asks_sender(self, domain: str) -> bool:
        """Whether mail for a domain may go to several next hops, by who sends it."""
        return any(self._rows[n].senders is not None for n in self._fitting(domain))

    def shared(self, address: str) -> bool:
        """Whether it is in a domain that is local and relayed: `next_hop` speaks of
        those who are not here."""
        name = in_dns(split(address)[1]) if self._relayed else None
        return name in self._relayed and name in self._local

    def through(self, via: str, recipient: str) -> NextHop:
        """Where a text says, whatever the table has; see `read_via`. No login is known
        for it but that of a row with the same `via`."""
        domain = split(recipient)[1]
        address = literal(domain)
        name = in_dns(domain) if address is None else domain
        if not name or address == "":
            return _refused("5.1.2", "The domain of the address is not valid")
        there = read_via(via)
        if there.transport == "refuse":
            return _refused("5.7.1", "Refused by the postmaster")
        for row in self._rows:
            if row.via == there and row.options.login:
                tls = row.options.tls or "verify"
                return self._hop(there, address or name, tls, _credentials(row))
        return self._hop(there, address or name, "")

    def limits(self, hop: NextHop, hosts: Iterable[str] = ()) -> DestinationOptions:
        """Of the table that names the next hop, else one of its MX `hosts`, else all.

        Of several that fit the narrowest counts, and the first host's."""
        for name in (hop.host, *hosts):
            for pattern in patterns_of(name):
                found = self._destinations.get(pattern)
                if found is not None and pattern != "*":
                    return found
        return self._destinations.get("*", _NO_LIMITS)

    def _number(self, reverse_path: str, domain: str) -> int:
        """Which row; -1 for none."""
        senders: frozenset[str] | None = None
        for number in self._fitting(domain):
            wanted = self._rows[number].senders
            if wanted is None:
                return number
            senders = senders or _names_of(reverse_path)
            if wanted & senders:
                return number
        return -1

    def _fitting(self, domain: str) -> list[int]:
        """The rows that name a domain, in order."""
        name = domain if domain.startswith("[") else in_dns(domain) or domain
        return sorted(
            {n for pattern in patterns_of(name) for n in self._numbers.get(pattern, ())}
        )

    def _find(self, domain: str, number: int) -> NextHop:
        address = literal(domain)
        name = in_dns(domain) if address is None else domain
        if not domain:
            return LOCAL  # RFC 5321 4.5.1: Postmaster of this server
        if not name or address == "":
            return _refused("5.1.2", "The domain of the address is not valid")
        if name in self._relayed:
            options, via = self._relayed[name]
            return self._hop(via, name, options.tls)
        if name in self._local:
            return LOCAL
        if number < 0:
            return self._hop(DIRECT, address or name, "")
        row = self._rows[number]
        if row.via.transport == "refuse":
            return _refused("5.7.1", row.options.text)
        tls, credentials = row.options.tls, ""
        if row.options.login:
            tls, credentials = tls or "verify", _credentials(row)
        return self._hop(row.via, address or name, tls, credentials)

    def _hop(
        self, via: Via, name: str, tls: TlsLevel, credentials: str = ""
    ) -> NextHop:
        """`name` is the recipient's domain or address, for a `via` that names none."""
        if via.transport == "discard":
            return NextHop("discard", tls="none", key="discard")
        to_address = not via.host and _is_address(name)
        hop = NextHop(
            via.transport,
            via.host or name,
            via.port,
            via.mx and not to_address,
            implicit_tls=via.implicit_tls,
            credentials=credentials,
        )
        usual: Tls = self.limits(hop).tls or self._tls
        if hop.host.startswith("/"):
            usual = "none"
        if via.implicit_tls and usual in ("none", "may"):
            usual = "encrypt"
        key = _key(hop)
        if tls and tls != usual:
            key += f" {tls}"
        return replace(hop, tls=tls or usual, key=key)


_NO_LIMITS: Final = DestinationOptions()


def _row(options: RelayOptions) -> _Row:
    senders = frozenset(each.lower() for each in options.senders)
    anybody = not senders or "*" in senders
    return _Row(options, read_via(options.via), None if anybody else senders)


def _pattern(text: str) -> str:
    """A name or pattern of a table, as it is looked up."""
    dot = "." if text.startswith(".") else ""
    name = in_dns(text.removeprefix("."))
    return text if name is None else dot + name


def _names_of(reverse_path: str) -> frozenset[str]:
    """How `senders` may name this one."""
    if not reverse_path:
        return frozenset(("<>",))
    local, domain = split(reverse_path)
    base = split_tag(local, "+")[0]
    return frozenset((f"{local}@{domain}", f"{base}@{domain}", f"@{domain}"))


def _credentials(row: _Row) -> str:
    return f"{row.options.login}@{row.via.host}:{row.via.port}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _refused(enhanced: str, text: str) -> NextHop:
    return NextHop(
        *("refuse", "", 0, False, "none"),
        *(False, "", text, enhanced, f"refuse {enhanced} {text}"),
    )


def _key(hop: NextHop) -> str:
    scheme = "smtps" if hop.implicit_tls else hop.transport
    usual = hop.mx and hop.port == SMTP_PORT
    key = f"{scheme}:{hop.host}"
    if not hop.mx and not hop.host.startswith("/"):
        key = f"{scheme}:[{hop.host}]"
    key += "" if usual or not hop.port else f":{hop.port}"
    return f"{key} as {hop.credentials}" if hop.credentials else key
