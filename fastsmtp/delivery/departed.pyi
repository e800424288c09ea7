"""What has gone, taken out of the queue: nearly every message, at the least cost."""

from fastsmtp.smtp.letter import Answer
from fastsmtp.store.base import Check

class Departed:
    """A `queue.moves.Move` for many messages, none of them twice.

    It comes to the same as `attempt.settle` and `moves.leave` for each."""

    checks: list[Check]
    deletes: list[bytes]
    refs: dict[int, int]
    adds: dict[bytes, tuple[int, int]]

    def __init__(self) -> None: ...
    def take(
        self, id: int, raw: bytes, destination: str, answers: dict[str, Answer]
    ) -> int:
        """Add this message, if all of its recipients waited at `destination` and these
        answers accept them, and nobody has to be told: when it arrived, in
        milliseconds. -1: it is not for this way."""
