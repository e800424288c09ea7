"""Octets of a body for servers that take less than came in (RFC 2045 6).

Each function takes a stretch of a body: what stands in it, where its parts begin, and
the same in 7 bits and short lines.
"""

class Survey:
    """One pass over a message or a part, cut where you like; facts after `finish`."""

    def __init__(self) -> None: ...
    def feed(self, data: bytes | bytearray | memoryview) -> None: ...
    def finish(self) -> None:
        """There is no more."""

    @property
    def size(self) -> int: ...
    @property
    def longest(self) -> int:
        """Octets of the longest line, with CRLF."""

    @property
    def eight_bit(self) -> bool: ...
    @property
    def broken(self) -> bool:
        """A NUL, or a CR or LF without the other."""

    @property
    def header_end(self) -> int:
        """Octets up to and with the first empty line; -1: there is none."""

def find_delimiter(
    data: bytes | bytearray | memoryview,
    start: int,
    boundaries: tuple[bytes, ...],
    last: bool,
) -> tuple[int, int, bool, int]:
    """The first line that is a delimiter of one of these boundaries (RFC 2046 5.1.1).

    start  where to begin; in the middle of a line, with the next. The octet before it
           tells, so it should be there
    last   the body ends with `data`

    Returns where that line begins, which boundary it is of, whether it closes, and
    where the next line begins. The boundary is -1 when there is none; the first number
    then is where to go on when there is more.
    """

def quoted(
    data: bytes | bytearray | memoryview, equals: bool = True, soft: bool = False
) -> bytes:
    """As quoted-printable, in lines of at most 76 columns. CRLF ends a line, other CR
    and LF are escaped, so that any octets come back.

    equals  False for what is quoted-printable already but not by the rules: what was
            escaped stays, and so does white space
    soft    end with a soft break: `data` is not the end of a line
    """

def based(data: bytes | bytearray | memoryview) -> bytes:
    """As base64, in lines of 76 columns that end with CRLF."""

def rewrapped(data: bytes | bytearray | memoryview, column: int) -> tuple[bytes, int]:
    """Base64 again in lines of 76, from `column` of the current one; whatever is not of
    its alphabet is left out. Returns the column behind it."""
