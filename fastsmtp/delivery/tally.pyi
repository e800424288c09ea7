"""What became of a message, added to the cells of its process."""

class LocalTally:
    """What applying one record came to. Holds on to the cells of `delivery.counts` and
    of `queue.counts`.

    Raises `ValueError` when there are too few of them."""

    def __init__(self, deliveries: memoryview[int], queue: memoryview[int]) -> None: ...
    def count(
        self, id: int, done: int, failed: int, seconds: float, delay: float
    ) -> None:
        """One message: its id, recipients reached, recipients deferred, how long it
        took and how long after its arrival, in seconds (a clock set back counts as 0).
        """

class DepartureTally:
    """What has left the queue. Holds on to the same cells, and raises the same."""

    def __init__(self, deliveries: memoryview[int], queue: memoryview[int]) -> None: ...
    def count(
        self,
        id: int,
        transport: str,
        recipients: int,
        seconds: float,
        delay: float,
    ) -> None:
        """One message that all its recipients have: how long the attempt took and how
        long after its arrival it ended, in seconds (a clock set back counts as 0)."""
