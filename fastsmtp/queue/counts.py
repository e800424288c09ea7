"""The cells of a process that works on the queue; `fastsmtp.metrics` names them."""

from typing import Final

from fastsmtp.cells import Histogram, Labelled, Seen

EVENTS: Final = (
    *("enqueued", "activated", "deferred", "delivered", "bounced"),
    *("expired", "held", "released", "removed"),
)
"""Values of the label `event`. enqueued, activated, held, released and removed count
messages; the others count recipients."""

EVENT: Final = Labelled(0, (("event", EVENTS),))
ENQUEUED: Final = EVENT.place("enqueued")
ACTIVATED: Final = EVENT.place("activated")
DEFERRED: Final = EVENT.place("deferred")
DELIVERED: Final = EVENT.place("delivered")
BOUNCED: Final = EVENT.place("bounced")
EXPIRED: Final = EVENT.place("expired")
HELD: Final = EVENT.place("held")
RELEASED: Final = EVENT.place("released")
REMOVED: Final = EVENT.place("removed")

LAG: Final = Histogram(
    EVENT.end, (0.001, 0.01, 0.1, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0), 1e-3
)
"""From the time an entry was due to the start of its attempt."""

LAG_SEEN: Final = Seen(LAG.first + LAG.size, LAG)

ACTIVE: Final = LAG_SEEN.end
ACTIVE_CELLS: Final = 11
"""Gauges, one row for each state that what is active rests in: octets, the oldest
arrival (seconds), messages by age; see `queue.actives`."""

CELLS: Final = ACTIVE + 3 * ACTIVE_CELLS
