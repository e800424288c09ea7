"""How a message enters: everything goes through the message log.

    mail     `Store.submit` or `Store.spool` with an `Envelope` that names recipients
    filing   one with an `Envelope.filing`: into one mailbox, as it is

Nothing here decides; who may receive and what is refused was settled before.
"""

from fastsmtp.queue.message import Envelope, Filing, encode_envelope
from fastsmtp.store.base import Done, Kind, Store


def accept(
    store: Store,
    id: int,
    envelope: Envelope,
    head: bytes,
    body: bytes | bytearray | memoryview,
    done: Done,
) -> None:
    """Take responsibility: `done(None)` when head + body and the envelope are durable.

    The 250 may go out then and not before. Raises `StoreUnavailable` at once when the
    store cannot take it; `done` is given the error when that shows later."""
    store.submit(id, Kind.MAIL, encode_envelope(envelope), head, body, done)


async def file(store: Store, filing: Filing, date: int, body: bytes) -> int:
    """Append a body for one mailbox; gives its id once it is durable.

    date    INTERNALDATE: milliseconds, wall clock
    `Store.applied` then waits until it stands there; it raises `Damaged` if the mailbox
    or the account has gone meanwhile (the body is set aside)."""
    envelope = Envelope("", (), date, filing=filing)
    return await store.append(Kind.MAIL, encode_envelope(envelope), body)
