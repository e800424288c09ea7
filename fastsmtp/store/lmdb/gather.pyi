"""The keeper's inner loop: from the octets of a segment to what will be written."""

from collections.abc import Callable

from fastsmtp.store.base import Put

def gather(
    data: bytes | bytearray | memoryview,
    offset: int,
    segment: tuple[int, int, int, int],
    take: Callable[[int, bytes, int], int],
    places: list[tuple[bytes, bytes]],
) -> tuple[int, int, int]:
    """Give records to `take` (`base.Quick`) as long as they are mail with the body in
    this segment, and are taken.

    data, offset   as in `record.scan`
    segment        series, number; salt and limit as in `record.scan`

    Appends (id, place) of each to `places`, as they stand in the index. Returns how
    many records, the octets of their bodies, and the offset of the first that was not
    taken: what is the matter with it `scan` tells."""

def overlay(
    puts: list[Put],
    over: dict[bytes, bytes | None],
    prefixes: dict[int, bytes],
) -> None:
    """Enter puts, in order, under their keys in the index; `prefixes` gives those of
    partitions."""
