"""What an operator may set about local domains, about mail of our own users, and about
clients nobody knows."""

from dataclasses import dataclass

from fastsmtp.options import (
    ADDRESSES,
    ALIASES,
    COUNT,
    DURATION,
    MAILBOX,
    NETWORKS,
    NUMBER,
    SCORES,
    SENDERS,
    SWITCH,
    TEXT,
    option,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainOptions:
    """A `[domains."example.test"]` table."""

    catch_all: str = option(
        "", "account or alias that takes what no other address takes", MAILBOX
    )
    aliases: dict[str, list[str]] = option(
        {}, "local part = local addresses its mail goes to", ALIASES
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
