"""The cells of checks that are our own; `fastsmtp.metrics` gives them their names."""

from typing import Final

from fastsmtp.cells import Histogram, Labelled, Seen

RESULTS: Final = ("accept", "reject", "defer", "error")
"""error: a list could not be asked, and nothing else decided."""
EDGES: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
DNSBL: Final = Labelled(0, (("result", RESULTS),))
DNSBL_SECONDS: Final = Histogram(DNSBL.end, EDGES, 1e-6)
"""From the connection to the verdict of all lists."""
CALL_AHEAD: Final = Labelled(
    DNSBL_SECONDS.first + DNSBL_SECONDS.size, (("result", RESULTS),)
)
"""What RCPT was told; defer and error: the next hop could not be asked."""
CALL_AHEAD_SECONDS: Final = Histogram(CALL_AHEAD.end, EDGES, 1e-6)
"""From a question to the next hop to what it said, or to the end of patience."""
HIT: Final = "hit"
MISS: Final = "miss"
STALE: Final = "stale"  # known once, and too old
REMEMBERED: Final = (HIT, MISS, STALE)
CALL_AHEAD_CACHE: Final = Labelled(
    CALL_AHEAD_SECONDS.first + CALL_AHEAD_SECONDS.size, (("result", REMEMBERED),)
)
CALL_AHEAD_SEEN: Final = Seen(CALL_AHEAD_CACHE.end, CALL_AHEAD_SECONDS)
CELLS: Final = CALL_AHEAD_SEEN.end
