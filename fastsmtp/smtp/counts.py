"""The cells of one listener's sessions, and of a process's connections to other
servers; `fastsmtp.metrics` gives them their names."""

from itertools import product
from typing import Final, get_args

from fastsmtp.cells import OCTETS, SECONDS, Histogram, Labelled, Seen
from fastsmtp.errors import Reason, Trouble
from fastsmtp.smtp.commands import VERBS
from fastsmtp.smtp.letter import STAGES as SENDING

LISTENERS: Final = ("smtp", "submission", "submissions", "lmtp", "sendmail")
"""What is listened for: mail from strangers, mail of our users in clear and over TLS,
mail from a server that trusts us, mail of programs on this machine. Each has cells of
its own."""
CLASSES: Final = ("2", "3", "4", "5")
STAGES: Final = ("connect", "helo", "mail", "rcpt", "data", "eod")
REASONS: Final = get_args(Reason)
FAMILIES: Final = ("ipv4", "ipv6", "other")
ARRIVALS: Final = (
    *("accepted", "limit", "rate", "banned", "early_talker", "dnsbl", "overload"),
)
PARTINGS: Final = ("quit", "timeout", "reset", "too_many_errors", "shutdown")
RESULTS: Final = ("accepted", "rejected", "deferred", "aborted")
SAID: Final = (*VERBS, "other", "eod")
"""Values of the label `command`: eod is the end of the data."""

OPEN: Final = 0  # gauge: connections now
CONNECTIONS: Final = Labelled(1, (("family", FAMILIES), ("result", ARRIVALS)))
DISCONNECTS: Final = Labelled(CONNECTIONS.end, (("reason", PARTINGS),))
MESSAGES: Final = Labelled(DISCONNECTS.end, (("result", RESULTS),))
COMMANDS: Final = Labelled(MESSAGES.end, (("command", SAID), ("code_class", CLASSES)))
REJECTS: Final = Labelled(
    COMMANDS.end, (("stage", STAGES), ("reason", REASONS), ("code_class", ("4", "5")))
)
SIZE: Final = Histogram(REJECTS.end, OCTETS)
RECIPIENTS: Final = Histogram(
    SIZE.first + SIZE.size, (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
ACCEPT: Final = Histogram(RECIPIENTS.first + RECIPIENTS.size, SECONDS, 1e-6)
"""MAIL to the 250 of the message."""
RECEIVE: Final = Histogram(ACCEPT.first + ACCEPT.size, SECONDS, 1e-6)
"""354 to the end of the data."""
DURATION_EDGES: Final = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
DURATIONS: Final = Labelled(
    RECEIVE.first + RECEIVE.size,
    COMMANDS.labels,
    len(DURATION_EDGES) + 2,
)
"""From the arrival of a command to its reply; `duration(...)` is one histogram."""
ACCEPT_SEEN: Final = Seen(DURATIONS.end, ACCEPT)
RECEIVE_SEEN: Final = Seen(ACCEPT_SEEN.end, RECEIVE)
ABOUT_MAIL: Final = ("MAIL", "RCPT", "DATA", "BDAT", "eod")
"""Commands that belong to a message, whose id is the exemplar of how long they took."""
SPOKEN: Final = Labelled(
    RECEIVE_SEEN.end,
    (("command", ABOUT_MAIL), ("code_class", CLASSES)),
    (len(DURATION_EDGES) + 1) * 3,
)
ADMISSION: Final = Labelled(SPOKEN.end, (("reason", (*get_args(Trouble), "share")),))
"""Transactions that were turned away at MAIL for no fault of the client; share: the
machine is behind, and the client's network has more than most."""
CELLS: Final = ADMISSION.end


def duration(command: str, code_class: str) -> Histogram:
    return Histogram(DURATIONS.place(command, code_class), DURATION_EDGES, 1e-6)


def spoken(command: str, code_class: str) -> Histogram | Seen:
    """The same, with exemplars where a command belongs to a message."""
    of = duration(command, code_class)
    if command not in ABOUT_MAIL:
        return of
    return Seen(SPOKEN.place(command, code_class), of)


def durations() -> "dict[tuple[str, str], Histogram]":
    return {(said, code): duration(said, code) for said, code in product(SAID, CLASSES)}


# What a process that sends counts, in a block of its own.
OUT_RESULTS: Final = (
    *("connected", "refused", "unreachable", "timeout"),
    *("turned_away", "tls_failed", "lost"),
)
"""What became of a connection to another server. The first ends well: it was ready for
mail. The next three had no connection; then it had one, and the server said no, TLS was
not as it must be, or the connection was lost before it was ready."""
OUT_OPEN: Final = 0  # gauge: connections that are ready for mail
OUT_CONNECTIONS: Final = Labelled(1, (("family", FAMILIES), ("result", OUT_RESULTS)))
OUT_REUSES: Final = OUT_CONNECTIONS.end
"""Messages that went over a connection that had carried one before."""
OUT_REPLIES: Final = Labelled(
    OUT_REUSES + 1, (("stage", SENDING[1:]), ("code_class", CLASSES))
)
OUT_CELLS: Final = OUT_REPLIES.end
