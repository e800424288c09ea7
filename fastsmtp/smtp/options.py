"""What an operator may set about the SMTP dialogue; defaults conform to RFC 5321."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fastsmtp.options import (
    ADDRESSES,
    CHOICE,
    COUNT,
    DURATION,
    KIB,
    MIB,
    NETWORKS,
    SIZE,
    SWITCH,
    TEXT,
    option,
)

EightBit = Literal["accept", "declared", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpOptions:
    """The `[smtp]` table. Sizes are octets, times are seconds."""

    listen: list[str] = option(["127.0.0.1:2525"], "addresses to listen on", ADDRESSES)
    proxy_protocol: list[str] = option(
        [],
        "networks of proxies: a connection from there begins with a PROXY header",
        NETWORKS,
    )
    xclient: list[str] = option(
        [],
        "networks of proxies that may tell with XCLIENT whom they serve",
        NETWORKS,
    )
    banner: str = option(
        "ESMTP fastsmtp", "text of the greeting after the host name", TEXT
    )
    max_message_size: int = option(
        50 * MIB, "largest message taken (RFC 1870)", SIZE, low=64 * KIB
    )
    memory_per_message: int = option(
        256 * KIB,
        "bodies above this stream to disk while they arrive",
        SIZE,
        low=16 * KIB,
    )
    memory_for_bodies: int = option(
        64 * MIB,
        "memory for all bodies that are arriving; above it they stream to disk sooner",
        SIZE,
        low=MIB,
    )
    max_recipients: int = option(
        1000, "recipients in one transaction (RFC 5321 4.5.3.1.8)", COUNT, low=100
    )
    max_command_line: int = option(
        2048,
        "octets in a command line with CRLF (RFC 5321: at least 512; parameters more)",
        SIZE,
        low=512,
    )
    max_line: int = option(
        0, "octets in a line of the body with CRLF; 0 is no limit", SIZE
    )
    max_received: int = option(
        100, "Received lines before a message counts as looping", COUNT, low=100
    )
    max_errors: int = option(
        20, "refused commands before the door closes", COUNT, low=1
    )
    max_commands: int = option(0, "commands in one connection; 0 is no limit", COUNT)
    max_idle_commands: int = option(
        100, "commands in a row that move no transaction (NOOP, RSET, …)", COUNT, low=10
    )
    max_connections: int = option(
        20_000, "connections in all, of each receiver", COUNT, low=1
    )
    max_connections_per_network: int = option(
        50, "connections from one client network, of each receiver", COUNT, low=1
    )
    eight_bit: EightBit = option(
        "accept",
        "accept takes 8-bit bodies; declared wants BODY=8BITMIME; reject is 7-bit only",
        CHOICE,
    )
    vrfy: bool = option(True, "answer VRFY with 252 (never tells); false: 502", SWITCH)
    starttls: bool = option(
        True, "offer STARTTLS (RFC 3207) when [tls] has a certificate", SWITCH
    )
    chunking: bool = option(True, "offer CHUNKING: BDAT (RFC 3030)", SWITCH)
    smtputf8: bool = option(
        True, "offer SMTPUTF8: addresses beyond ASCII (RFC 6531)", SWITCH
    )
    dsn: bool = option(
        True, "offer DSN: senders choose of what they are told (RFC 3461)", SWITCH
    )
    limits: bool = option(
        True, "offer LIMITS: say how many recipients are taken (RFC 9422)", SWITCH
    )
    requiretls: bool = option(
        True, "offer REQUIRETLS over TLS (RFC 8689); kept with the message", SWITCH
    )
    priorities: bool = option(
        True,
        "offer MT-PRIORITY to users who have logged in: order in the queue (RFC 6710)",
        SWITCH,
    )
    max_priority: int = option(
        4, "the highest of -9 to 9 they get; what is above becomes this", COUNT, high=9
    )
    future_release: bool = option(
        True,
        "offer FUTURERELEASE to users who have logged in: send it later (RFC 4865)",
        SWITCH,
    )
    max_future_release: float = option(
        30 * 86_400.0,
        "how long mail may be held for that",
        DURATION,
        low=60,
        high=3650 * 86_400,
    )
    deliver_by: bool = option(
        True,
        "offer DELIVERBY: mail that is to arrive in time or come back (RFC 2852)",
        SWITCH,
    )
    min_deliver_by: float = option(
        60.0,
        "shortest time after which mail may have to come back; 0: any",
        DURATION,
        high=86_400,
    )
    command_timeout: float = option(
        300.0, "wait for the next command (RFC 5321 4.5.3.2.7)", DURATION, low=1
    )
    data_timeout: float = option(
        180.0, "wait for the next piece of a body", DURATION, low=1
    )
    transaction_timeout: float = option(
        3600.0, "from MAIL to the end of the body", DURATION, low=10
    )
    reply_timeout: float = option(
        300.0, "wait for a client to read our replies", DURATION, low=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LmtpOptions:
    """The `[lmtp]` table: mail from a server that trusts us to answer for each
    recipient (RFC 2033). What `[smtp]` says counts there as well."""

    listen: list[str] = option(
        [], "addresses to listen on for LMTP, not to be reached by strangers", ADDRESSES
    )


def _address_of(version: int) -> Callable[[str], str | None]:
    def wrong(text: str) -> str | None:
        try:
            right = not text or ipaddress.ip_address(text).version == version
        except ValueError:
            right = False
        return None if right else f"is not an IPv{version} address"

    return wrong


Level = Literal["none", "may", "encrypt", "verify"]
"""How much TLS a connection to another server must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """The `[send]` table: one connection to another server. Times are seconds; the
    defaults are what RFC 5321 4.5.3.2 asks for."""

    tls: Level = option(
        "may",
        "none: in clear; may: TLS when it can be had, else in clear; encrypt: TLS,"
        " whoever it is; verify: TLS with a certificate for the name of the server",
        CHOICE,
    )
    ca_file: str = option(
        "",
        "PEM file of the authorities that verify trusts, its full path; empty: those of"
        " the system",
        TEXT,
    )
    source_ipv4: str = option(
        *("", "address to connect from over IPv4; empty: any", TEXT),
        check=_address_of(4),
    )
    source_ipv6: str = option(
        *("", "address to connect from over IPv6; empty: any", TEXT),
        check=_address_of(6),
    )
    connect_timeout: float = option(
        30.0, "for a connection to one of a server's addresses", DURATION, low=1
    )
    stagger: float = option(
        0.25,
        "pause before another address is tried beside one that does not answer"
        " (RFC 8305)",
        DURATION,
        low=0.01,
    )
    greeting_timeout: float = option(300.0, "wait for the greeting", DURATION, low=1)
    command_timeout: float = option(
        300.0, "wait for the answer to a command", DURATION, low=1
    )
    data_timeout: float = option(120.0, "wait for the answer to DATA", DURATION, low=1)
    block_timeout: float = option(
        180.0, "wait until more of a body can be written", DURATION, low=1
    )
    end_timeout: float = option(
        600.0, "wait for the answer to the end of the data", DURATION, low=1
    )
    handshake_timeout: float = option(
        30.0, "from the start of a TLS handshake to its end", DURATION, low=1
    )
    pipelining: bool = option(
        True, "send commands in groups where it is offered (RFC 2920)", SWITCH
    )
    chunking: bool = option(
        True, "send large bodies with BDAT where it is offered (RFC 3030)", SWITCH
    )
