"""What a client sends, to whom, and what it is told: the values of `smtp.client`."""

from typing import Final, NamedTuple, Protocol

STAGES: Final = (
    *("connect", "greeting", "ehlo", "tls", "auth", "mail", "rcpt", "data", "body"),
    *("lmtp", "rset", "quit"),
)
"""What a reply answers, or what was under way when none came.

connect   there is no connection yet
greeting  the first line of the server
ehlo      EHLO, HELO or LHLO
tls       STARTTLS, the handshake, or that there is none where there must be one
auth      AUTH and each answer to a challenge
body      the end of the data, or the last chunk: the answer for the message
lmtp      the same for one recipient of LMTP (RFC 2033 4.2)
rset, quit  never of an `Answer` for a letter
"""


class Answer(NamedTuple):
    """A reply of the other server, or why there was none.

    code      200 to 599. 0: no reply came, `text` says what happened; try again
    enhanced  RFC 3463 status ("5.1.1"); "" where the server gave none
    text      one line without code and status; controls are "?", lines are joined by
              a space, at most 1000 octets of what came
    stage     one of STAGES; never "rset" or "quit"

    What cannot be sent to this server at all is answered here, before a word is said:
    code 5xx, a status and `local` true.
    """

    code: int
    enhanced: str
    text: str
    stage: str
    local: bool = False

    @property
    def accepted(self) -> bool:
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        return self.code >= 500

    def __str__(self) -> str:
        """As a log or a notice shows it."""
        words = (str(self.code) if self.code else "", self.enhanced, self.text)
        return " ".join(word for word in words if word)


class Rcpt(NamedTuple):
    """One recipient; `notify` and `orcpt` as `queue.message.Recipient` has them: they
    go on to a server that offers DSN (RFC 3461 4.1, 4.2)."""

    address: str
    notify: str = ""
    orcpt: str = ""


class By(NamedTuple):
    """DELIVERBY (RFC 2852): seconds from now, below 0 when they are over; the mode is
    "R" or "N", with "T" behind it for a trace."""

    seconds: int
    mode: str


class Body(Protocol):
    """`store.base.Blob`, as far as a client needs it."""

    @property
    def length(self) -> int:
        """Octets, those that are skipped included."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` octets from `offset`; fewer only at the end."""
        ...


class Letter(NamedTuple):
    """One message for one connection.

    reverse_path  "" is the null reverse-path
    recipients    at least one; `Offered.recipients_most` says how many are taken
    body          read while it is sent, in pieces; stays the caller's, open until all
                  is answered. Lines end with CRLF; no NUL, no bare CR or LF
    skip          octets in front that are not sent: the Return-Path line
    eight_bit     it may hold octets above 127: needs 8BITMIME (RFC 6152 3)
    smtputf8      needs SMTPUTF8 (RFC 6531 3.6)
    requiretls    needs TLS and REQUIRETLS (RFC 8689 4.2)
    ret, envid    RFC 3461 4.3, 4.4; `envid` is decoded
    submitter     of AUTH=, said to a server that we have logged in to (RFC 4954 5)
    priority      of MT-PRIORITY (RFC 6710)
    by            of DELIVERBY
    """

    reverse_path: str
    recipients: tuple[Rcpt, ...]
    body: Body
    skip: int = 0
    eight_bit: bool = False
    smtputf8: bool = False
    requiretls: bool = False
    ret: str = ""
    envid: str = ""
    submitter: str = ""
    priority: int | None = None
    by: By | None = None
