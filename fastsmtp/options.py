"""How a package declares its settings: frozen dataclasses that document themselves.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class LogOptions:
        segment_size: int = option(64 * MIB, "bytes in a segment file", SIZE, low=MIB)

`fastsmtp.config` reads these fields to decode the TOML file, to check it and to print
its defaults; a package is handed its own object and never sees the file.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any, Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

COUNT: Final = "count"  # a whole number
SIZE: Final = "size"  # bytes; written "50 MiB", "512 B" or a whole number
DURATION: Final = "duration"  # seconds; written "5 min", "250 ms", "1 d" or a number
TEXT: Final = "text"
SWITCH: Final = "switch"  # true or false
CHOICE: Final = "choice"  # one word of a Literal
ADDRESSES: Final = "addresses"  # list of "host:port"


def option(
    default: Any,
    doc: str,
    kind: str = TEXT,
    *,
    low: float | None = None,
    high: float | None = None,
    check: Callable[[Any], str | None] | None = None,
) -> Any:
    """A documented field of an options class.

    kind   how the value is written in the file, one of the constants above
    low, high  the inclusive range allowed, in bytes, seconds or units
    check  returns None, or one sentence that says what is allowed
    """
    meta = {"doc": doc, "kind": kind, "low": low, "high": high, "check": check}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=meta)
    return field(default=default, metadata=meta)
