"""Plain mail for INBOXes or for other servers, as nearly all mail is, at the least
cost."""

from collections.abc import Callable

from fastsmtp.delivery.route import Route
from fastsmtp.store.base import Read, Writes
from fastsmtp.trace.ring import Trace

class Departures:
    """The queue entries of one transaction."""

    entered: dict[str, int]

class Inboxes:
    """`fastsmtp.store.base.Quick`, for mail that goes to INBOXes and nowhere else, or
    to other servers and nowhere else.

    Laws: `take` has filed the message for each of its recipients or put it into the
    queue, or it has done nothing but `put` what it held back; a remembered INBOX is
    used only while the store holds the bytes it was read from or written as; an
    envelope with anything in it that this does not know is not taken.

    route   asked once for each address until its `known` is another one
    count   told of each message, as `LocalTally.count`
    clock   seconds, wall clock; for the counts alone
    limit   INBOXes and addresses remembered
    trace   told of each message

    departures   what went to other servers: `entered`, destination -> when something
                 is due there"""

    departures: Departures

    def __init__(
        self,
        route: Route,
        count: Callable[[int, int, int, float, float], None],
        clock: Callable[[], float],
        limit: int = 10_000,
        trace: Trace | None = None,
    ) -> None: ...
    def begin(self, read: Read, put: Callable[[int, bytes, bytes], None]) -> None:
        """See `Quick.begin`."""

    def take(self, id: int, envelope: bytes, length: int) -> int:
        """See `Quick.take`."""

    def end(self) -> Writes:
        """See `Quick.end`."""
