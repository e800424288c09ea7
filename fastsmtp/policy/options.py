"""What an operator may set about local domains, about mail of our own users, about
clients nobody knows, and about the way of mail to other servers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from fastsmtp.options import (
    ADDRESSES,
    ALIASES,
    CHOICE,
    COUNT,
    DURATION,
    FILE,
    MAILBOX,
    NETWORKS,
    NEXT_HOP,
    NUMBER,
    ORIGINS,
    PATTERNS,
    REQUIRED,
    SCORES,
    SENDERS,
    SWITCH,
    TEXT,
    TEXTS,
    option,
)

TlsLevel = Literal["", "none", "may", "encrypt", "verify"]
"""What is demanded of a connection; "": whatever another table says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainOptions:
    """A `[domains."example.test"]` table."""

    catch_all: str = option(
        "", "address that takes what no other address here takes", MAILBOX
    )
    aliases: dict[str, list[str]] = option(
        {}, "local part = addresses its mail goes to, here or elsewhere", ALIASES
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionOptions:
    """The `[submission]` table: mail of users who log in (RFC 6409, RFC 8314)."""

    listen: list[str] = option(
        [], 'addresses to listen on, with STARTTLS: "0.0.0.0:587"', ADDRESSES
    )
    listen_tls: list[str] = option(
        [], 'the same where TLS comes first: "0.0.0.0:465"', ADDRESSES
    )
    senders: dict[str, list[str]] = option(
        {},
        'by account, addresses it may send from besides its own; "@domain" is all of '
        'a domain, "*" is all',
        SENDERS,
    )
    check_from: bool = option(
        True, "the From field must hold such addresses too, not only MAIL", SWITCH
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SendmailOptions:
    """The `[sendmail]` table: mail of programs on this machine, by `fastsmtp sendmail`.
    Who may connect is said by the rights of the socket's folder."""

    listen: list[str] = option(
        [], 'Unix sockets: "unix:/run/fastsmtp/sendmail.sock"', ADDRESSES
    )
    domain: str = option(
        "",
        "what follows the @ of the users of this machine, and of names without one; "
        "unset: hostname",
        TEXT,
    )
    trusted: list[str] = option(
        ["root"], "users of this machine that may send from any address", TEXTS
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOptions:
    """The `[policy]` table: what clients that nobody knows may do. It is for the
    listener `smtp`; the prefixes are for all."""

    trusted_networks: list[str] = option(
        ["127.0.0.0/8", "::1/128"],
        "networks that no ban, rate, delay or list is for",
        NETWORKS,
    )
    banned_networks: list[str] = option(
        [], "networks whose connections are answered 554 and closed", NETWORKS
    )
    ipv4_prefix: int = option(
        32, "bits of an IPv4 address that make a client network", COUNT, low=8, high=32
    )
    ipv6_prefix: int = option(
        64,
        "bits of an IPv6 address that make a client network",
        COUNT,
        low=16,
        high=128,
    )
    connections_per_minute: int = option(
        0, "connections from one client network in a minute; 0 is no limit", COUNT
    )
    messages_per_minute: int = option(
        0, "MAIL commands from one client network in a minute; 0 is no limit", COUNT
    )
    recipients_per_minute: int = option(
        0, "RCPT commands from one client network in a minute; 0 is no limit", COUNT
    )
    fair_share_above: int = option(
        80,
        "percent of max_connections from which on a client network gets no more than"
        " its share of them; 100: first come, first served",
        COUNT,
        low=1,
        high=100,
    )
    greeting_delay: float = option(
        0.0,
        "wait before the greeting; who speaks earlier is no mail server and is sent"
        " away; 0: no wait",
        DURATION,
        high=60,
    )

    reverse_dns: bool = option(
        False,
        "ask DNS for the name of each client, forward and back; for Received, hooks and"
        " the log. The greeting does not wait for it",
        SWITCH,
    )
    dnsbl_reject: float = option(
        1.0, "score of all lists together from which on it is 554; 0: never", NUMBER
    )
    dnsbl_defer: float = option(
        0.0, "score from which on it is 450, try again later; 0: never", NUMBER
    )
    dnsbl_timeout: float = option(
        5.0,
        "from the connection until a list that has not answered has no score",
        DURATION,
        low=0.1,
        high=60,
    )

    def for_friends(self) -> "PolicyOptions":
        """What is left of it where clients are known: prefixes and fair share."""
        return PolicyOptions(
            ipv4_prefix=self.ipv4_prefix,
            ipv6_prefix=self.ipv6_prefix,
            fair_share_above=self.fair_share_above,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """A `[dnsbl."zen.example.net"]` table: a DNS list of client addresses."""

    score: float = option(
        1.0,
        "what being listed counts; below 0 for a list of good clients",
        NUMBER,
        low=-1000,
        high=1000,
    )
    codes: dict[str, float] = option(
        {},
        "by answer, what it counts instead; others count nothing; a range of last"
        ' octets is "127.0.0.4-7"',
        SCORES,
    )
    text: str = option(
        "",
        "what refused clients are told, {address} is theirs; unset: the TXT record of"
        " the list",
        TEXT,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayDomainOptions:
    """A `[relay_domains."example.org"]` table: a domain whose mail is taken from
    anybody and passed on to another server. If it is in `[domains]` too, what no
    account and no alias there takes is passed on."""

    next_hop: str = option(
        REQUIRED,
        'where it goes: "lmtp:///path/of/socket", "lmtp://host:port",'
        ' "smtp://host:port", "smtps://host:port", "mx" (the other hosts that the MX'
        " records name)",
        NEXT_HOP,
    )
    recipients: list[str] = option(
        [],
        "local parts that exist there; others are refused; without this, a file and"
        " call_ahead all are taken",
        TEXTS,
    )
    recipients_file: str = option(
        "",
        "file with more of them, one a line; # begins a comment; read at the start and"
        " at a reload",
        FILE,
    )
    call_ahead: bool = option(
        False,
        "ask the next hop about each recipient that is not listed, and remember what it"
        " said",
        SWITCH,
    )
    when_silent: Literal["accept", "defer"] = option(
        "accept",
        "what becomes of a recipient when the next hop cannot be asked; accept: taken,"
        " and kept until it is back",
        CHOICE,
    )
    tls: TlsLevel = option(
        "",
        "as in [destinations]; unset: as it is there, and none through a Unix socket",
        CHOICE,
    )

    def moved(self, place: Callable[[str], str]) -> "RelayDomainOptions":
        """With every path as `place` gives it."""
        if not self.recipients_file:
            return self
        return replace(self, recipients_file=place(self.recipients_file))


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """A `[[relay]]` table: how mail for other servers goes. The first that fits counts;
    when none does, mail goes to the hosts that the DNS names for its recipient."""

    to: list[str] = option(
        [],
        'domains of recipients: "example.org", ".example.org" for all below it, "*";'
        " empty: all",
        PATTERNS,
    )
    senders: list[str] = option(
        [],
        'who sends it: addresses, "@example.org", "<>" for notices; empty: anybody',
        ORIGINS,
    )
    via: str = option(
        REQUIRED,
        'where it goes: "mx", "smtp://host:587", "smtps://host:465" (TLS first),'
        ' "mx://example.org" (the MX hosts of that domain), "lmtp://host:port",'
        ' "lmtp:///path/of/socket", "discard" (to nobody), "refuse"',
        NEXT_HOP,
    )
    tls: TlsLevel = option(
        "",
        "as in [destinations]; unset: as it is there, and verify where there is a"
        " login",
        CHOICE,
    )
    login: str = option("", "name to log in with at the next hop", TEXT)
    secret_file: str = option("", "file with the password for it", FILE)
    text: str = option(
        "mail for this address is not sent from here",
        "what senders are told where via is refuse",
        TEXT,
    )

    def moved(self, place: Callable[[str], str]) -> "RelayOptions":
        """With every path as `place` gives it."""
        if not self.secret_file:
            return self
        return replace(self, secret_file=place(self.secret_file))


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationOptions:
    """A `[destinations."example.org"]` table: how much goes there at once, how safely.

    The name is the domain of recipients, the host of a next hop, or a host that MX
    records name; ".example.org" is all below it, "*" is whatever has no table."""

    connections: int = option(
        20, "connections to it at once", COUNT, low=1, high=10_000
    )
    rate: int = option(0, "messages to it in a minute; 0 is no limit", COUNT)
    reuse: int = option(
        100, "messages over one connection before it is closed", COUNT, low=1
    )
    tls: TlsLevel = option(
        "",
        "none: no TLS; may: TLS where it is offered; encrypt: nothing without TLS;"
        " verify: and only to a host whose certificate has its name; unset: as in"
        " [send]",
        CHOICE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAheadOptions:
    """The `[call_ahead]` table: asking next hops whether a recipient exists."""

    timeout: float = option(
        5.0, "wait for what the next hop says of one", DURATION, low=0.1, high=120
    )
    sender: str = option(
        "", "reverse-path of the question; unset: the null one", MAILBOX
    )
    connections: int = option(
        4, "connections to one next hop that ask", COUNT, low=1, high=100
    )
    waiting: int = option(
        1000, "recipients asked about at once; more count as not asked", COUNT, low=1
    )
    cache: int = option(100_000, "answers remembered", COUNT, low=100)
    remember_good: float = option(
        86400.0, "how long one that exists is remembered", DURATION, low=1
    )
    remember_bad: float = option(
        600.0, "how long one that does not exist is remembered", DURATION, low=1
    )
