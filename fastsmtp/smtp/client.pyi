"""The sending end of an SMTP or LMTP dialogue; its text is ext/smtp/client.pyx."""

from collections.abc import Callable
from typing import final

from fastsmtp.smtp.letter import Answer, Letter
from fastsmtp.smtp.manners import Manners
from fastsmtp.smtp.offered import Offered

@final
class Client:
    """One dialogue, without IO; the laws are at the head of ext/smtp/client.pyx.

    secured   version of TLS, "" in clear
    progress  grows with each step
    parting   why it has ended; None: it has not, or QUIT was answered
    letters   that were taken by `give`
    """

    offers: Offered
    secured: str
    parting: Answer | None
    progress: int
    letters: int
    def __init__(
        self,
        manners: Manners,
        cells: memoryview[int],
        opened: Callable[[Answer | None], None],
        trouble: Callable[[Exception], None],
    ) -> None:
        """
        cells    `smtp.counts.OUT_CELLS` of them; replies are counted here
        opened   called once: with None when letters may be given, or why never
        trouble  called with what `done` or a body raised
        """

    @property
    def state(self) -> int: ...
    @property
    def upgrade(self) -> bool:
        """The server is ready for TLS: shake hands, then call `secure`."""

    @property
    def finished(self) -> bool:
        """Write what `take` gives, then close."""

    @property
    def pouring(self) -> bool:
        """A body is under way: call `more` when there is room."""

    @property
    def idle(self) -> bool:
        """No letter is inside."""

    @property
    def room(self) -> bool:
        """Whether `give` takes a letter: there are never more than two."""

    @property
    def stage(self) -> str:
        """What is awaited, one of `letter.STAGES`."""

    @property
    def patience(self) -> float:
        """Seconds this step may take, from the last one on (RFC 5321 4.5.3.2)."""

    def hear(self, data: bytes | bytearray | memoryview, n: int) -> bytes | None:
        """The first n octets of a buffer have come; returns what to write, or None."""

    def take(self) -> bytes | None:
        """What is to be written, or None."""

    def give(
        self,
        letter: Letter,
        done: Callable[[list[Answer]], None],
        held: bool = False,
    ) -> list[Answer] | None:
        """Send a letter; `Misused` where there is no `room`. Held, its body waits for
        `release`. None: it was taken, and `done` will be called. A list: it cannot be
        sent to this server, and these are the answers of its recipients."""

    def release(self) -> bytes | None:
        """The body of the letter that is held may go, if it still is; returns what to
        write, or None."""

    def more(self) -> bytes | None:
        """The next piece of the body to write, or None; at most 256 KiB are read.
        Behind the last piece `take` may have more."""

    def secure(self, version: str) -> bytes | None:
        """TLS is on; before the greeting, or because of `upgrade`. What was said in
        clear is forgotten (RFC 3207 4.2)."""

    def quit(self) -> bytes | None:
        """Leave when all is answered; returns what to write, or None."""

    def lost(self, enhanced: str, text: str) -> None:
        """The connection is gone, or the driver ends it: whatever is inside gets an
        answer of code 0 that says so."""
