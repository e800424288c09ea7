"""What the process that keeps the queue and one that sends tell each other.

    keeper -> sender   GIVE: jobs; RECORDED: ids whose outcome is durable
    sender -> keeper   HELLO: what it works on; DONE: outcomes; BACK: jobs it did not
                       get to

A frame is its length (4 octets), a kind (1) and msgpack. Either end may die at any
time: the keeper then has everything due again, and a sender names what it is at when it
comes back, with the outcomes that nobody has acknowledged.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from fastsmtp.delivery.attempt import Attempt
from fastsmtp.policy.relaying import NextHop
from fastsmtp.queue.message import Envelope, Queued, Recipient, Target
from fastsmtp.smtp.letter import Answer

GIVE: Final = 1
RECORDED: Final = 2
HELLO: Final = 3
DONE: Final = 4
BACK: Final = 5

LARGEST: Final = 64 * 1024 * 1024  # octets of a frame; both ends are ours
_HEAD: Final = Struct(">IB")


class Job(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message for one next hop.

    envelope    as it was accepted; its recipients are those of this destination, with
                the addresses that they have now
    octets      of the body, the first `envelope.skip` of them not to be sent
    """

    id: int
    destination: str
    hop: NextHop
    envelope: Envelope
    octets: int

    @property
    def key(self) -> "Key":
        return Key(self.id, self.destination)


class Key(NamedTuple):
    """Which job: a message goes to several destinations, and to each once at a time."""

    id: int
    destination: str


class Outcome(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`attempt.Attempt` as a sender knows it."""

    id: int
    destination: str
    hop: str
    host: str
    reached: bool
    seconds: float
    offers_dsn: bool
    answers: tuple[tuple[str, Answer], ...]
    lmtp: bool = False

    def attempt(self) -> Attempt:
        return Attempt(
            *(self.id, self.destination, dict(self.answers)),
            *("lmtp" if self.lmtp else "smtp", self.hop, self.host),
            *(self.reached, self.seconds, self.offers_dsn),
        )


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """What a sender has: jobs under way, and outcomes not known to be durable."""

    active: tuple[tuple[Key, str], ...]
    outcomes: tuple[Outcome, ...]


Back = tuple[int, str, str]
"""Id, destination, and the key of the next hop."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoders: Final[dict[int, msgspec.msgpack.Decoder[Any]]] = {
    GIVE: msgspec.msgpack.Decoder(list[Job]),
    RECORDED: msgspec.msgpack.Decoder(list[Key]),
    HELLO: msgspec.msgpack.Decoder(Hello),
    DONE: msgspec.msgpack.Decoder(list[Outcome]),
    BACK: msgspec.msgpack.Decoder(list[Back]),
}


def frame(kind: int, what: object) -> bytes:
    """One frame; a list that is too large for one is several."""
    data = _encoder.encode(what)
    if len(data) > LARGEST and isinstance(what, list) and len(what) > 1:
        half = len(what) // 2
        return frame(kind, what[:half]) + frame(kind, what[half:])
    return _HEAD.pack(len(data), kind) + data


class Frames:
    """Cuts a stream of octets into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, Any]]:
        """What has come whole: kind and value. Raises `msgspec.MsgspecError` or
        `ValueError` on what no peer of this version says."""
        rest = self._rest
        rest += data
        at = 0
        while len(rest) - at >= _HEAD.size:
            size, kind = _HEAD.unpack_from(rest, at)
            if size > LARGEST or kind not in _decoders:
                raise ValueError(f"a frame of kind {kind} and {size} octets")
            end = at + _HEAD.size + size
            if end > len(rest):
                break
            with memoryview(rest) as whole:
                value = _decoders[kind].decode(whole[at + _HEAD.size : end])
            yield kind, value
            at = end
        del rest[:at]


def job_of(
    id: int, name: str, hop: NextHop, queued: Queued, waiting: list[Target]
) -> Job:
    """For the recipients that wait at one destination. What an alias turned into has
    the NOTIFY and ORCPT of the recipient it came from (RFC 3461 5.2.7.1)."""
    envelope = queued.envelope
    given = {recipient.address: recipient for recipient in envelope.recipients}
    recipients = []
    for target in waiting:
        known = given.get(target.recipient)
        if known is None or known.address != target.address:
            known = Recipient(
                target.address,
                known.notify if known else "",
                known.orcpt if known else "",
            )
        recipients.append(known)
    envelope = replace(envelope, recipients=tuple(recipients))
    return Job(id, name, hop, envelope, queued.octets)
