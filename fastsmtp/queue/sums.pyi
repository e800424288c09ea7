"""Adds up rows of the queue, many at a time: how much of it is how old, and where."""

class Depths:
    """Sums for each state.

    letters  of the states, as they stand in keys; 3 at most
    edges    ages in seconds, ascending; 16 at most
    now      seconds, wall clock

    Raises `ValueError` where there is more than that, and for rows that are none.
    """

    def __init__(self, letters: bytes, edges: tuple[int, ...], now: int) -> None: ...
    def add(self, counters: list[tuple[bytes, bytes]]) -> None:
        """Rows `c`: a state and a minute, with messages and octets."""

    def add_rows(self, rows: list[tuple[bytes, bytes]]) -> None:
        """Rows `d`: one message each, without its octets."""

    def of(self, letter: bytes) -> list[int]:
        """Messages, octets, the second in which the oldest came (0 without any), and
        messages by age: at most as old as the first edge, as the second, …, older."""

class Fullest:
    """The `most` destinations where most messages wait.

    Raises `ValueError` for rows that are none."""

    def __init__(self, most: int) -> None: ...
    def add(self, counters: list[tuple[bytes, bytes]]) -> None:
        """Rows `g`, each once: a destination with its messages and octets."""

    def found(self) -> tuple[list[tuple[bytes, int, int]], tuple[int, int]]:
        """The fullest first, as name, messages and octets, of equal ones the first that
        came; then messages and octets of all others."""
