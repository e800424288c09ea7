"""What an operator may set about local domains and about mail of our own users."""

from dataclasses import dataclass

from fastsmtp.options import ADDRESSES, ALIASES, MAILBOX, SENDERS, SWITCH, option


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
