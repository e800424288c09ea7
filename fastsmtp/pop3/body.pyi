"""The Python face of ext/popbody.pxd: a message as a POP3 client is given it."""

from typing import final

@final
class Giver:
    """One message, in pieces; `lines` of its body, or all; `narrow`: no octet above 127
    in its header."""

    def __init__(self, lines: int | None = ..., narrow: bool = ...) -> None: ...
    def give(self, data: bytes) -> bytes:
        """What this piece becomes; of a top that is `done`, nothing."""

    def end(self) -> bytes:
        """The mark of the end, and an end of line before it where there is none."""

    @property
    def done(self) -> bool:
        """Whether a top needs no more."""

def is_wide(data: bytes) -> bool:
    """Whether the message that begins so came with SMTPUTF8."""
