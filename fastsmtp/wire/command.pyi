"""Command lines of SMTP: their end, verb, path and parameters (RFC 5321 4.1)."""

from typing import Final, Literal, NamedTuple

VERBS: Final[tuple[str, ...]]
"""The verbs that are known; the first, "", stands for all others."""

FAULTS: Final[tuple[str, ...]]
"""What can be wrong with a line."""

class SyntaxFault(ValueError):
    """A line or an address is not what RFC 5321 allows.

    fault  one of FAULTS
    text   a sentence for the reply
    """

    fault: str
    text: str
    def __init__(self, fault: str, text: str) -> None: ...

class Path(NamedTuple):
    """A path as it came; `mailbox` is empty for the null path.

    local is with its quotes, domain with its [ ]; postmaster: that word alone.
    """

    mailbox: bytes
    local: bytes
    domain: bytes
    bracketed: bool
    routed: bool
    quoted: bool
    literal: bool
    non_ascii: bool
    postmaster: bool

class Command(NamedTuple):
    """host is for HELO, EHLO and LHLO; path and parameters for MAIL and RCPT."""

    verb: str
    argument: bytes
    host: bytes = b""
    path: Path | None = None
    parameters: tuple[tuple[bytes, bytes | None], ...] = ()

def find_line(
    data: bytes | bytearray | memoryview, limit: int = 1024
) -> tuple[Literal["more", "whole", "bare_lf", "long"], int]:
    """How the first line ends, and its octets with CRLF (or through the bare LF).

    limit counts the CRLF; "long": there is none within it.
    """

def skip_line(data: bytes | bytearray | memoryview) -> tuple[bool, int]:
    """Whether a line that is dropped ends here, and the octets of it that may go."""

def parse(line: bytes) -> Command:
    """A whole line with its CRLF. Raises SyntaxFault."""

def parse_mailbox(text: bytes) -> Path:
    """`local@domain` or `postmaster`, without brackets. Raises SyntaxFault."""

def parse_count(digits: bytes) -> int | None:
    """1 to 20 digits, at most 2**64 - 1; None when it is not that (RFC 1870 3)."""
