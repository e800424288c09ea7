"""What an operator may set about POP3; defaults conform to RFC 1939."""

from dataclasses import dataclass

from fastsmtp.options import ADDRESSES, COUNT, DURATION, NUMBER, TEXT, option


@dataclass(frozen=True, slots=True, kw_only=True)
class Pop3Options:
    """The `[pop3]` table: people fetch their mail (RFC 1939). Times are seconds."""

    listen: list[str] = option(
        [], 'addresses to listen on, with STLS: "0.0.0.0:110"', ADDRESSES
    )
    listen_tls: list[str] = option(
        [], 'the same where TLS comes first: "0.0.0.0:995"', ADDRESSES
    )
    banner: str = option("POP3 fastsmtp", "text of the greeting", TEXT)
    max_connections: int = option(
        10_000, "connections in all, of each reader", COUNT, low=1
    )
    max_connections_per_network: int = option(
        50, "connections from one client network, of each reader", COUNT, low=1
    )
    max_errors: int = option(
        20, "refused commands before the door closes", COUNT, low=1
    )
    max_share: float = option(
        0.1,
        "of a processor's time that a reader gives messages in while several fetch",
        NUMBER,
        low=0.01,
        high=1,
    )
    keep_days: int = option(
        0,
        "days for which mail stays after it was fetched; then QUIT deletes it, "
        "0: it stays for ever (RFC 2449 6.7)",
        COUNT,
        low=0,
        high=36_500,
    )
    login_timeout: float = option(
        60.0, "wait for a client that has not logged in", DURATION, low=10
    )
    idle_timeout: float = option(
        600.0,
        "wait for the next command (RFC 1939: at least 10 min)",
        DURATION,
        low=600,
    )
    reply_timeout: float = option(
        300.0, "wait for a client to read what it asked for", DURATION, low=1
    )
