"""Which entries of the queue may fit a filter, without decoding them.

The readable twin is `queue.selection.Filter.takes`: what that takes always passes here.
"""

from typing import final

from fastsmtp.queue.selection import Filter, Leads

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
