"""Which entries of the queue may fit a filter, without decoding them.

What the filter asks of state and next hop is not looked at. The readable twin is
`queue.selection.Filter.takes`: what that takes always passes here.
"""

from typing import final

from fastsmtp.queue.selection import Filter

@final
class Sieve:
    """For one filter."""

    def __init__(self, wanted: Filter) -> None: ...
    def passes(self, rows: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Those of the rows (key, value) that may fit."""
