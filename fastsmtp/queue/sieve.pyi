"""Which entries of the queue may fit a filter, without decoding them.

The readable twin is `queue.selection.Filter.takes`: what that takes always passes here.
"""

from collections.abc import Collection
from typing import final

from fastsmtp.queue.selection import Filter, Leads, Survey

@final
class Sieve:
    """For one filter.

    leads  whether mail for a domain may go to the next hop that is asked for, whoever
           sends it (None); if that cannot be said, it is asked again with the sender.
           Octets are as they stand in the entry; what it says is remembered. Without
           `leads` any hop will do
    """

    def __init__(self, wanted: Filter, leads: Leads | None = None) -> None: ...
    def fits(self, value: bytes) -> bool:
        """Whether this entry may be meant."""

    def survey(
        self,
        rows: list[tuple[bytes, bytes]],
        active: Collection[int],
        found: Survey,
    ) -> list[tuple[bytes, bytes]]:
        """Count those of these rows (`keys.queued` and an entry) that are certainly
        meant; gives those of which that cannot be told here, which has to decode them.
        What is `active` is one of them."""
