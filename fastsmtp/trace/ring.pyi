"""Ring files of what became of messages, written without a system call."""

from collections.abc import Container
from typing import Final

ACCEPTED: Final = 1
REFUSED: Final = 2
DROPPED: Final = 3
AWAY: Final = 4
APPLIED: Final = 5
ATTEMPT: Final = 6
MOVED: Final = 7

Row = tuple[int, int, int, tuple[int, ...], tuple[str, ...]]
"""Milliseconds of the wall clock, kind, queue id or 0, numbers, texts."""

class Trace:
    """What a process writes; two files, `path`.mail and `path`.refused.

    path  without one, and with `size` 0, it takes nothing and costs nothing
    size  octets of the first; of the second a quarter

    Goes on in files that are there. Not for several threads without the GIL, nor for
    two processes. Raises `OSError`, and `FormatTooNew` for files of a later version.

    on    whether anything is kept; ask before what is to be kept is made
    """

    on: bool
    def __init__(self, path: str = "", size: int = 0) -> None: ...
    def applied(self, id: int, delivered: int, deferred: int) -> None:
        """The keeper has put a message into so many mailboxes; so many recipients
        could not be served at once."""

    def note(
        self,
        kind: int,
        id: int,
        numbers: tuple[int, ...],
        texts: tuple[str, ...],
        card: bytes = b"",
    ) -> None:
        """Any record; `fastsmtp.trace.records` says what stands in which. Texts are cut
        at 256 octets, and what exceeds 16 KiB is left out. `card` comes before them."""

    def attempt(
        self,
        id: int,
        recipient: str,
        hop: str,
        host: str,
        code: int,
        text: str,
        milliseconds: int,
    ) -> None:
        """One recipient was tried at another server.

        hop   whom it goes to: domain, smarthost or "local"
        host  name and address of the peer; "" when there was none
        code  of its reply, 0 when it gave none; `text` says what it said or what failed
        milliseconds  from the connection, or the envelope on an open one, to the answer
        """

    def moved(self, id: int, what: str, text: str) -> None:
        """Something else became of a message, in a word (`deferred`, `held`, `bounced`,
        `expired`, `removed`, …) and a sentence for people."""

    def sweep(self, before: int, most: int = ...) -> None:
        """Erase what is older than `before`, in milliseconds; look at `most` octets."""

    def close(self) -> None: ...

def card(*texts: str) -> bytes:
    """Who speaks: listener, client, its name in DNS, HELO, TLS, login. Encoded once for
    all messages of a session."""

def scan(
    data: bytes | bytearray | memoryview,
    needles: tuple[bytes, ...] = ...,
    ids: Container[int] = ...,
    since: int = 0,
) -> tuple[list[Row], int]:
    """The records of a file that have one of these ids, or one of the needles somewhere
    in their texts; and when the oldest of all was made, 0 if there is none.

    needles  in lower case; they are found in any
    since    milliseconds; what is older is passed over

    Raises `Damaged` when it is not such a file, `FormatTooNew`."""
