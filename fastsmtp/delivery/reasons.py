"""Why mail does not arrive: codes for servers, words for people.

`OURS` is the one table of what we find out ourselves. What another server said has its
enhanced status code (RFC 3463), and `THEIRS` puts that into words. A sentence says what
happened, the next what the reader can do about it.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class Reason(StrEnum):
    """What stands in the way, when no answer of another server says it."""

    EXPIRED = "expired"
    BY_TIME = "by_time"
    UNREACHABLE = "unreachable"
    DNS = "dns"
    NO_DOMAIN = "no_domain"
    NULL_MX = "null_mx"
    NO_ROUTE = "no_route"
    LOOP = "loop"
    NO_USER = "no_user"
    OUR_TROUBLE = "our_trouble"
    TOO_LARGE = "too_large"
    CONVERSION = "conversion"
    SMTPUTF8 = "smtputf8"
    REQUIRETLS = "requiretls"
    TLS = "tls"
    POLICY = "policy"
    OPERATOR = "operator"


class Words(NamedTuple):
    """What happened, and what to do; {domain} and {host} are filled in."""

    what: str
    to_do: str


class Row(NamedTuple):
    """The enhanced status code while there is hope and when none is left, and words."""

    delayed: str
    failed: str
    words: Words


ANOTHER_WAY: Final = "Please reach this person in another way."
OURSELVES: Final = "Please tell the postmaster of {host}."
THEIR_POSTMASTER: Final = (
    "Please tell the recipient in another way, who can ask the people that run the"
    " mail of {domain}."
)
LATER: Final = "Please send the message again later, or reach this person otherwise."

OURS: Final[dict[Reason, Row]] = {
    # RFC 3463 3.5: x.4.7 only where no answer tells the actual problem. A message
    # that has expired could arrive later, so that is 4 even when it has failed (2).
    Reason.EXPIRED: Row(
        *("4.4.7", "4.4.7"),
        Words("It was tried again and again, without success.", LATER),
    ),
    # RFC 2852 4.1.4
    Reason.BY_TIME: Row(
        *("4.4.7", "5.4.7"),
        Words("The time in which it was to be delivered is over.", LATER),
    ),
    Reason.UNREACHABLE: Row(
        *("4.4.1", "4.4.1"),
        Words("The mail server of {domain} could not be reached.", LATER),
    ),
    Reason.DNS: Row(
        *("4.4.3", "4.4.3"),
        Words("The mail server of {domain} could not be looked up.", LATER),
    ),
    Reason.NO_DOMAIN: Row(
        *("4.1.2", "5.1.2"),
        Words(
            "There is no domain {domain}.",
            "Please look for a typing mistake behind the @ and send it again.",
        ),
    ),
    # RFC 7505 4.2
    Reason.NULL_MX: Row(
        *("4.1.10", "5.1.10"),
        Words(
            "{domain} takes no mail at all.",
            "Please look for a typing mistake behind the @, or reach this person in"
            " another way.",
        ),
    ),
    Reason.NO_ROUTE: Row(
        *("4.4.4", "5.4.4"),
        Words("{domain} has no mail server that we may use.", ANOTHER_WAY),
    ),
    Reason.LOOP: Row(
        *("4.4.6", "5.4.6"),
        Words("The message went round in a circle between servers.", OURSELVES),
    ),
    Reason.NO_USER: Row(
        *("4.1.1", "5.1.1"),
        Words(
            "There is no such address here.",
            "Please look for a typing mistake and send it again.",
        ),
    ),
    Reason.OUR_TROUBLE: Row(
        *("4.3.0", "5.3.0"), Words("Something is wrong at {host}.", OURSELVES)
    ),
    # RFC 1870 6.3
    Reason.TOO_LARGE: Row(
        *("4.3.4", "5.3.4"),
        Words(
            "The message is larger than the server of {domain} takes.",
            "Please send it in smaller pieces, or put what is attached elsewhere.",
        ),
    ),
    # RFC 6152 3
    Reason.CONVERSION: Row(
        *("4.6.3", "5.6.3"),
        Words(
            "The server of {domain} takes plain ASCII only, and this message cannot be"
            " turned into that without harm to it.",
            "Please send it without a signature or in another form.",
        ),
    ),
    # RFC 6531 3.5, 3.6
    Reason.SMTPUTF8: Row(
        *("4.6.7", "5.6.7"),
        Words(
            "An address or the header has letters beyond ASCII, and the server of"
            " {domain} cannot deal with them.",
            "Please use addresses of the Latin letters a to z, if there are such.",
        ),
    ),
    # RFC 8689 5
    Reason.REQUIRETLS: Row(
        *("4.7.30", "5.7.30"),
        Words(
            "The message must travel encrypted all the way, and the server of {domain}"
            " cannot promise that.",
            "Please send it without this demand, if it may be read on its way.",
        ),
    ),
    Reason.TLS: Row(
        *("4.7.5", "5.7.5"),
        Words(
            "There is no safe connection to the server of {domain}.", THEIR_POSTMASTER
        ),
    ),
    Reason.POLICY: Row(
        *("4.7.1", "5.7.1"),
        Words("Mail from you to this address is not sent by {host}.", OURSELVES),
    ),
    Reason.OPERATOR: Row(
        *("4.3.0", "5.3.0"),
        Words("The people who run {host} stopped the message.", OURSELVES),
    ),
}

_REFUSED: Final = Words(
    "The server of {domain} did not take the message.",
    "What it said stands below. Please change what it objects to, or reach this"
    " person in another way.",
)
_TYPING: Final = Words(
    "The server of {domain} knows no such address.",
    "Please look for a typing mistake and send it again.",
)
_CLOSED: Final = Words("This mailbox takes no mail at present.", ANOTHER_WAY)
_SPAM: Final = Words(
    "The server of {domain} did not want the message, by rules that it keeps.",
    THEIR_POSTMASTER,
)
_TOO_LARGE: Final = OURS[Reason.TOO_LARGE].words
_THEIR_TROUBLE: Final = Words(
    "Something is wrong at the server of {domain}.", THEIR_POSTMASTER
)

THEIRS: Final[dict[str, Words]] = {
    "1": Words("The server of {domain} did not take this address.", _TYPING.to_do),
    "1.1": _TYPING,
    "1.2": OURS[Reason.NO_DOMAIN].words,
    "1.3": _TYPING,
    "1.6": Words("Whoever had this address has moved.", ANOTHER_WAY),
    "1.7": Words("Your own address was not accepted there.", OURSELVES),
    "1.8": Words("Your own address was not accepted there.", OURSELVES),
    "1.10": OURS[Reason.NULL_MX].words,
    "2": _CLOSED,
    "2.1": _CLOSED,
    "2.2": Words("This mailbox is full.", LATER),
    "2.3": _TOO_LARGE,
    "3": _THEIR_TROUBLE,
    "3.4": _TOO_LARGE,
    "4": Words("The mail does not get through to the server of {domain}.", LATER),
    "4.6": Words("The message went round in a circle there.", THEIR_POSTMASTER),
    "4.7": Words("The message was on its way for too long.", LATER),
    "6": Words(
        "The server of {domain} cannot deal with the form of the message.",
        "Please send it in another form, as plain text for example.",
    ),
    "6.7": OURS[Reason.SMTPUTF8].words,
    "7": _SPAM,
    "7.30": OURS[Reason.REQUIRETLS].words,
}
"""By subject and detail of an enhanced status code, or by its subject alone."""


def ours(reason: Reason) -> Words:
    return OURS[reason].words


def theirs(enhanced: str) -> Words:
    """Words for the code of another server; it may be "" or any nonsense."""
    _, _, rest = enhanced.partition(".")
    subject = rest.partition(".")[0]
    return THEIRS.get(rest) or THEIRS.get(subject) or _REFUSED
