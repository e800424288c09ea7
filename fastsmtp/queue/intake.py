"""How a message enters: everything goes through the message log.

    mail     `Store.submit` or `Store.spool` with an `Envelope` that names recipients
    filing   the same with an `Envelope.filing`: into one mailbox, as it is. It stands
             there when `Store.applied` resolves; `Damaged` says that the mailbox or the
             account had gone meanwhile, and the body was set aside

Nothing here decides; who may receive and what is refused was settled before.
"""

from fastsmtp.queue.message import Envelope, encode_envelope
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
