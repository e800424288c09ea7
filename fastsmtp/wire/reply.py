"""Replies of a server: RFC 5321 4.2, with the enhanced codes of RFC 2034.

A reply is never longer than 512 octets a line (RFC 5321 4.5.3.1.5) and holds printable
ASCII only, so that nothing a peer sent can end it early.
"""

from collections.abc import Sequence
from typing import Final

LONGEST: Final = 512  # octets with CRLF


def line(code: int, enhanced: str, text: str) -> bytes:
    """One line; `enhanced` is "" where RFC 2034 has none (greeting, EHLO, 3xx)."""
    return _line(code, " ", enhanced, text)


def lines(code: int, texts: Sequence[str], enhanced: str = "") -> bytes:
    """A reply of several lines: `250-` on all but the last, the same codes on each."""
    last = len(texts) - 1
    return b"".join(
        _line(code, " " if n == last else "-", enhanced, text)
        for n, text in enumerate(texts)
    )


def _line(code: int, mark: str, enhanced: str, text: str) -> bytes:
    words = f"{code}{mark}{enhanced} {text}" if enhanced else f"{code}{mark}{text}"
    if len(words) > LONGEST - 2 or not (words.isascii() and words.isprintable()):
        words = "".join(c if " " <= c <= "~" else "?" for c in words[: LONGEST - 2])
    return words.encode("ascii") + b"\r\n"
