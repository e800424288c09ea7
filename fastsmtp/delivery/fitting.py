"""The letter that a connection takes: what the other server does not offer is worked
around, or the message goes back with a reason (`delivery.downgrade`)."""

from typing import Final

from fastsmtp.delivery.conversation import Conversation
from fastsmtp.delivery.downgrade import Hop, fit
from fastsmtp.delivery.jobs import Job
from fastsmtp.delivery.reasons import OURS, Reason
from fastsmtp.delivery.relay import plain
from fastsmtp.smtp.letter import Answer, Letter
from fastsmtp.store.base import Blob

SMALL: Final = 64 * 1024  # octets: such a body is read once, not for each look at it


class Whole:
    """A small body in memory."""

    __slots__ = ("_data", "length")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def read(self, offset: int, size: int) -> bytes:
        if not offset and size >= self.length:
            return self._data
        return self._data[offset : offset + size]


def fitted(job: Job, conversation: Conversation, body: Blob) -> Letter | Answer:
    """Of `relay.Fit`."""
    offers, envelope = conversation.offers, job.envelope
    source = Whole(body.read(0, SMALL)) if body.length <= SMALL else body
    hop = Hop(offers.eight_bit, offers.smtputf8)
    made = fit(envelope, source, [r.address for r in envelope.recipients], hop)
    if isinstance(made, Reason):
        row = OURS[made]
        host = offers.name or conversation.terms.name
        text = row.words.what.format(domain=job.destination, host=host)
        return Answer(554, row.failed, text, "mail", local=True)
    return plain(job, made.body)._replace(
        skip=made.skip, eight_bit=made.eight_bit, smtputf8=made.smtputf8
    )
