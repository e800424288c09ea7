"""The cells of a process that delivers; `fastsmtp.metrics` gives them their names."""

from typing import Final

from fastsmtp.cells import SECONDS, Histogram, Labelled, Seen

TRANSPORTS: Final = ("local", "lmtp", "smtp", "relay")
RESULTS: Final = ("delivered", "temp_fail", "perm_fail", "conn_fail", "tls_fail")
_LABELS: Final = (("transport", TRANSPORTS), ("result", RESULTS))
DELAYS: Final = (
    *(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0),
    *(1800.0, 3600.0, 14_400.0, 86_400.0, 432_000.0),
)

ATTEMPTS: Final = Labelled(0, _LABELS)
"""One for each recipient of each attempt."""

DURATIONS: Final = Labelled(ATTEMPTS.end, _LABELS, len(SECONDS) + 2)
"""How long an attempt took: of a whole message where all is done in one piece."""

DELAYED: Final = Labelled(DURATIONS.end, _LABELS, len(DELAYS) + 2)
"""From the arrival of a message to the final state of a recipient."""

_TRIED: Final = Labelled(DELAYED.end, _LABELS, (len(SECONDS) + 1) * 3)
_LATE: Final = Labelled(_TRIED.end, _LABELS, (len(DELAYS) + 1) * 3)
"""Exemplars of the two, see `cells.Seen`."""

CELLS: Final = _LATE.end


def duration(transport: str, result: str) -> Seen:
    of = Histogram(DURATIONS.place(transport, result), SECONDS, 1e-6)
    return Seen(_TRIED.place(transport, result), of)


def delay(transport: str, result: str) -> Seen:
    of = Histogram(DELAYED.place(transport, result), DELAYS, 1e-3)
    return Seen(_LATE.place(transport, result), of)
