"""The cells of one listener's sessions; `fastsmtp.metrics` gives them their names."""

from itertools import product
from typing import Final

from fastsmtp.cells import Histogram, Labelled
from fastsmtp.pop3.commands import VERBS

LISTENERS: Final = ("pop3", "pop3s")
"""What is listened for: with STLS, and with TLS from the first octet."""
FAMILIES: Final = ("ipv4", "ipv6", "other")
ARRIVALS: Final = ("accepted", "limit", "overload")
PARTINGS: Final = ("quit", "timeout", "reset", "too_many_errors", "shutdown")
SAID: Final = (*VERBS, "other")
RESULTS: Final = ("ok", "err")
EVENTS: Final = ("retrieved", "deleted", "expired")

OPEN: Final = 0  # gauge: connections now
CONNECTIONS: Final = Labelled(1, (("family", FAMILIES), ("result", ARRIVALS)))
DISCONNECTS: Final = Labelled(CONNECTIONS.end, (("reason", PARTINGS),))
COMMANDS: Final = Labelled(DISCONNECTS.end, (("command", SAID), ("result", RESULTS)))
MESSAGES: Final = Labelled(COMMANDS.end, (("event", EVENTS),))
OCTETS: Final = MESSAGES.end
"""Of messages that were retrieved whole."""
DURATION_EDGES: Final = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
DURATIONS: Final = Labelled(OCTETS + 1, COMMANDS.labels, len(DURATION_EDGES) + 2)
"""From the arrival of a command to its reply; of RETR, until its last octet was
handed over."""
CELLS: Final = DURATIONS.end


def duration(command: str, result: str) -> Histogram:
    return Histogram(DURATIONS.place(command, result), DURATION_EDGES, 1e-6)


def durations() -> "dict[tuple[str, str], Histogram]":
    return {(said, how): duration(said, how) for said, how in product(SAID, RESULTS)}
