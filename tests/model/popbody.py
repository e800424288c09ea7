"""The slow twin of ext/popbody.pxd: a message as RFC 1939 gives it, line by line."""

from __future__ import annotations


def given(message: bytes, lines: int | None = None) -> bytes:
    """Everything behind "+OK": dots doubled, the end marked. Of TOP: the header, the
    empty line, and so many lines of the body."""
    kept = _lines(message)
    if lines is not None:
        kept = _top(kept, lines)
    out = b"".join(b"." + line if line.startswith(b".") else line for line in kept)
    return out + (b".\r\n" if not out or out.endswith(b"\r\n") else b"\r\n.\r\n")


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
