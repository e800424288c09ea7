"""What a row of a table of commands says of its argument."""

from enum import IntEnum


class Argument(IntEnum):
    """NONE: it takes none; FREE: it may; NEEDED: it must. `ext/lines.pxi` has the
    same numbers."""

    NONE = 0
    FREE = 1
    NEEDED = 2


NONE, FREE, NEEDED = Argument
