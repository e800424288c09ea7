"""The facts of the log: what each line holds, and what may stand in it."""

import re
from typing import Final, Literal, NamedTuple

import msgspec

Level = Literal["debug", "info", "warning", "error"]
LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warning", "error")
TEXT_MOST: Final = 200  # characters; times 6 for escapes, three fit in PIPE_BUF


class Peer(NamedTuple):
    """Who is at the other end: number of the session in its process, and address.

    tls   version of TLS that is spoken; "" in clear
    """

    session: int
    client: str
    tls: str = ""


def snake(name: str) -> str:
    """`MessageAccepted` is the event `message_accepted`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


class Line(msgspec.Struct, gc=False, tag_field="event", tag=snake):
    """What every line begins with."""

    time: str
    level: Level
    process: str


class SessionOpened(Line, gc=False):
    session: int
    client: str


class SessionClosed(Line, gc=False):
    session: int
    client: str
    reason: str


class MessageAccepted(Line, gc=False):
    id: str
    session: int
    client: str
    sender: str
    recipients: int
    size: int
    microseconds: int
    tls: str


class MessageRefused(Line, gc=False):
    id: str
    session: int
    client: str
    sender: str
    code: int
    status: str
    reason: str
    cause: str


class RecipientRefused(Line, gc=False):
    id: str
    session: int
    client: str
    recipient: str
    code: int
    status: str
    reason: str


class RecipientAsked(Line, gc=False):
    """What a next hop says of a recipient.

    exists  "yes", "no", or "unsaid": the reply is about something else
    """

    id: str
    session: int
    client: str
    recipient: str
    hop: str
    exists: str
    reply: str
    microseconds: int


class ClientKnown(Line, gc=False):
    """What the DNS says of a client."""

    session: int
    client: str
    name: str
    score: float
    lists: str


class LoggedIn(Line, gc=False):
    session: int
    client: str
    login: str
    mechanism: str
    tls: str


class LoginFailed(Line, gc=False):
    session: int
    client: str
    name: str
    mechanism: str
    why: str


class MailRemoved(Line, gc=False):
    """At QUIT of POP3."""

    session: int
    client: str
    login: str
    messages: int


class ConnectionRefused(Line, gc=False):
    client: str
    reason: str


class Delivered(Line, gc=False):
    id: str
    recipient: str
    hop: str
    host: str
    reply: str


class DeliveryDeferred(Line, gc=False):
    id: str
    recipient: str
    cause: str
    attempts: int
    due: str


class DeliveryFailed(Line, gc=False):
    id: str
    recipient: str
    cause: str


class NoticeSent(Line, gc=False):
    id: str
    notice: str
    kind: str
    recipient: str


class LinesLeftOut(Line, gc=False):
    lines: int
    clients: int
    reason: str


class Worker(Line, gc=False):
    role: str
    slot: int
    pid: int


class WorkerStarted(Worker, gc=False):
    epoch: int


class WorkerDied(Worker, gc=False):
    status: int


class Note(Line, gc=False):
    """A rare fact: what happened and the one thing it is about."""

    what: str
    about: str


class Server(Note, gc=False):
    """The server's own life: listening, serving, draining, stopped, reloaded."""


class StoreTrouble(Note, gc=False):
    pass


class StoreRecovered(Note, gc=False):
    pass


class Certificates(Note, gc=False):
    """Read anew, or not."""


class Handshake(Line, gc=False):
    """One that failed."""

    client: str
    listener: str
    result: str
    cause: str


class Fault(Note, gc=False):
    """A bug or a failure nobody foresaw. `trace` names places in the code only."""

    trace: list[str]


def clean(text: str) -> str:
    """`text` with nothing in it that a reader of lines could take for an end of line,
    a lone surrogate or another trick, and at most TEXT_MOST characters."""
    if text.isascii() and len(text) <= TEXT_MOST:
        return text
    text = text[:TEXT_MOST]
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
