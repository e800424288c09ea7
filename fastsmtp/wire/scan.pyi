"""One pass over the body of a message: framing, transparency and facts."""

class BodyScanner:
    """Takes what follows the 354 up to its end; cut the input where you like.

    Only CRLF ends a line and only CRLF "." CRLF ends the data (RFC 5321 2.3.8,
    4.1.1.4); "." as the first line ends it too. The leading dot of every other line
    that has one is taken away (4.5.2). Return-Path fields of the header are left out.

    Offsets and sizes are octets of the message as its author sent it: without those
    dots, with Return-Path. A place is (offset from 0, line from 1) of the first such
    octet, or None. All facts are final once `ended`.
    """

    output: bytearray
    """What is to be kept; empty with keep=False."""

    def __init__(self, keep: bool = True) -> None: ...
    def feed(self, data: bytes | bytearray | memoryview) -> int:
        """Take octets; returns how many: all, unless the data ended among them."""

    @property
    def ended(self) -> bool: ...
    @property
    def size(self) -> int: ...
    @property
    def lines(self) -> int:
        """Lines that ended with CRLF, without the final "."."""

    @property
    def longest(self) -> int:
        """Octets of the longest line, with CRLF."""

    @property
    def longest_line(self) -> int:
        """Its number, from 1; the first of several."""

    @property
    def eight_bit(self) -> tuple[int, int] | None: ...
    @property
    def nul(self) -> tuple[int, int] | None: ...
    @property
    def bare_cr(self) -> tuple[int, int] | None: ...
    @property
    def bare_lf(self) -> tuple[int, int] | None: ...
    @property
    def header_end(self) -> int | None:
        """Octets of output up to and with the empty line; None: there is none."""

    @property
    def received(self) -> int:
        """Received fields in the header; a folded one counts once."""

    @property
    def return_paths(self) -> int:
        """Return-Path fields that were left out."""

    @property
    def left_out(self) -> int:
        """Octets of those fields."""
