"""The slow twin of ext/popbody.pxd: a message as RFC 1939 gives it, line by line."""

from __future__ import annotations

import re

FIELD = rb"[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
TRACE = rb"(?:Return-Path:%b)?(?P<received>Received:%b)" % (FIELD, FIELD)


def given(message: bytes, lines: int | None = None) -> bytes:
    """Everything behind "+OK": dots doubled, the end marked. Of TOP: the header, the
    empty line, and so many lines of the body."""
    kept = _lines(message)
    if lines is not None:
        kept = _top(kept, lines)
    out = b"".join(b"." + line if line.startswith(b".") else line for line in kept)
    return out + (b".\r\n" if not out or out.endswith(b"\r\n") else b"\r\n.\r\n")


def narrow(message: bytes) -> bytes:
    """For a client that did not say UTF8: a message that came with SMTPUTF8, as its
    topmost Received says, has "?" for every octet of its header above 127."""
    trace = re.match(TRACE, message)
    if trace is None or not re.search(rb" with UTF8", trace["received"]):
        return message
    lines = _lines(message)
    blank = next(
        (n for n, ln in enumerate(lines) if ln in (b"\r\n", b"\n")), len(lines)
    )
    header = re.sub(rb"[\x80-\xff]", b"?", b"".join(lines[:blank]))
    return header + b"".join(lines[blank:])


def _lines(message: bytes) -> list[bytes]:
    """With their ends; the last may have none."""
    parts = message.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _top(lines: list[bytes], wanted: int) -> list[bytes]:
    for n, line in enumerate(lines):
        if line in (b"\r\n", b"\n"):
            return lines[: n + 1 + wanted]
    return lines


def taken(out: bytes) -> bytes:
    """What a client makes of it (RFC 1939 3): the reverse, for whole messages."""
    assert out.endswith(b"\r\n.\r\n") or out == b".\r\n"
    return b"".join(
        line[1:] if line.startswith(b".") else line for line in _lines(out[:-3])
    )
