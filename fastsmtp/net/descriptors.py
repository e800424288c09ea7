"""How many descriptors a process may have, and what of that is for connections.

A connection that would take one of the last `LAST` is told 421, whatever else uses
descriptors; `connections_most` keeps the number of connections below that in the first
place. So accept does not fail for lack of descriptors; should it all the same, see
`net.listener`.
"""

import contextlib
import resource
import sys
from typing import Final

SPARE: Final = 256  # for segments, the index, metrics and what comes
MANY: Final = 1 << 30  # more than any process has
LAST: Final = 64  # of these; what must be opened while all connections are taken


def raise_limit() -> int:
    """Allow this process, and those it starts, as many as the system allows it; gives
    that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def connections_most(configured: int) -> int:
    """Below the limit of descriptors, so that a 421 comes before EMFILE."""
    return max(1, min(configured, limit() - SPARE))


def highest() -> int:
    """The first descriptor that no connection may have."""
    return max(1, min(limit(), MANY) - LAST)
