"""The cells of one listener's TLS, and of a process's questions to the DNS;
`fastsmtp.metrics` gives them their names."""

from typing import Final

from fastsmtp.cells import Histogram, Labelled

FULL: Final = "full"
RESUMED: Final = "resumed"
FAILED: Final = "failed"  # no common version or cipher, or not TLS at all
TIMEOUT: Final = "timeout"
LOST: Final = "lost"  # the connection ended before
RESULTS: Final = (FULL, RESUMED, FAILED, TIMEOUT, LOST)
"""How a handshake may end."""
VERSIONS: Final = ("TLSv1.2", "TLSv1.3", "none")
"""`none`: it did not come to one."""

HANDSHAKES: Final = Labelled(0, (("version", VERSIONS), ("result", RESULTS)))
CELLS: Final = HANDSHAKES.end

KINDS: Final = ("A", "AAAA", "MX", "PTR", "TXT")
"""Types of records that are asked for."""
FOUND: Final = "found"
NO_NAME: Final = "no_name"
NO_DATA: Final = "no_data"
TROUBLE: Final = "trouble"
OUTCOMES: Final = (FOUND, NO_NAME, NO_DATA, TROUBLE)
HIT: Final = "hit"
MISS: Final = "miss"
STALE: Final = "stale"  # known once, and too old
CACHED: Final = (HIT, MISS, STALE)

QUERY_EDGES: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0)
QUERIES: Final = Labelled(
    0, (("type", KINDS), ("result", OUTCOMES)), len(QUERY_EDGES) + 2
)
"""How long an answer took; `query(...)` is one histogram."""
CACHE: Final = Labelled(QUERIES.end, (("result", CACHED),))
DNS_CELLS: Final = CACHE.end


def query(kind: str, result: str) -> Histogram:
    return Histogram(QUERIES.place(kind, result), QUERY_EDGES, 1e-6)
