"""What a server offers: its answer to EHLO, read once per connection."""

import re
from typing import Any, Final, NamedTuple

_WORDS_MOST: Final = 40  # of one line
_MOST: Final = 2**62  # what is said to be more is this much
_DIGITS: Final = re.compile(r"[0-9]{1,20}")


class Offered(NamedTuple):
    """The extensions of one server; all of them off for one that knows HELO only.

    name             what the server calls itself
    extended         it answered EHLO or LHLO
    size             octets of the largest message; 0: it does not say (RFC 1870)
    sized            it wants to be told the size
    mechanisms       of AUTH, upper case, in its order
    deliver_by       the least seconds it takes; 0: any; None: no DELIVERBY (RFC 2852)
    recipients_most  in one transaction; 0: it does not say (RFC 9422)
    letters_most     on one connection; 0: it does not say
    """

    name: str = ""
    extended: bool = False
    pipelining: bool = False
    size: int = 0
    sized: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    chunking: bool = False
    dsn: bool = False
    starttls: bool = False
    mechanisms: tuple[str, ...] = ()
    requiretls: bool = False
    priority: bool = False
    deliver_by: int | None = None
    enhanced: bool = False
    recipients_most: int = 0
    letters_most: int = 0


_SWITCHES: Final = {
    "PIPELINING": "pipelining",
    "8BITMIME": "eight_bit",
    "SMTPUTF8": "smtputf8",
    "CHUNKING": "chunking",
    "DSN": "dsn",
    "STARTTLS": "starttls",
    "REQUIRETLS": "requiretls",
    "MT-PRIORITY": "priority",
    "ENHANCEDSTATUSCODES": "enhanced",
}
_LIMITS: Final = {"RCPTMAX": "recipients_most", "MAILMAX": "letters_most"}


def read(lines: list[str], extended: bool = True) -> Offered:
    """The lines of a positive answer without their codes; keywords in any case. What
    is unknown or malformed is as if it was not there; of two lines the last counts.

    extended  it answers EHLO or LHLO: an answer to HELO offers nothing
    """
    name = lines[0].split(" ", 1)[0] if lines else ""
    found: dict[str, Any] = {}
    for line in lines[1:] if extended else ():
        # "AUTH=LOGIN" is how some wrote it before there was a standard
        words = line.upper().replace("AUTH=", "AUTH ", 1).split()[:_WORDS_MOST]
        if words:
            found.update(_keyword(words[0], words[1:]))
    return Offered(name, extended, **found)


def _keyword(keyword: str, words: list[str]) -> dict[str, Any]:
    if keyword in _SWITCHES:
        return {_SWITCHES[keyword]: True}
    if keyword == "SIZE":
        return {"size": _number(words), "sized": True}
    if keyword == "AUTH":
        return {"mechanisms": tuple(dict.fromkeys(words))}
    if keyword == "DELIVERBY":
        return {"deliver_by": _number(words)}
    if keyword == "LIMITS":
        pairs = (word.partition("=") for word in words)
        return {_LIMITS[n]: _number([v]) for n, _, v in pairs if n in _LIMITS}
    return {}


def _number(words: list[str]) -> int:
    """The first word as a number; 0 when it is none."""
    if not words or not _DIGITS.fullmatch(words[0]):
        return 0
    return min(int(words[0]), _MOST)
