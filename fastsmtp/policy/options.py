"""What an operator may set about a local domain."""

from dataclasses import dataclass

from fastsmtp.options import ALIASES, MAILBOX, option


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainOptions:
    """A `[domains."example.test"]` table."""

    catch_all: str = option(
        "", "account or alias that takes what no other address takes", MAILBOX
    )
    aliases: dict[str, list[str]] = option(
        {}, "local part = local addresses its mail goes to", ALIASES
    )
