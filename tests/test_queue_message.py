import msgspec
import pytest

from fastsmtp.errors import Damaged
from fastsmtp.queue.message import (
    Envelope,
    Filing,
    Queued,
    Recipient,
    Standing,
    State,
    Target,
    decode_envelope,
    decode_queued,
    encode_envelope,
    encode_queued,
    parse_queue_id,
    queue_id,
)

ENVELOPE = Envelope("s@x.test", (Recipient("a@y.test"),), 17)


def test_an_entry_survives_the_store() -> None:
    targets = (
        Target("a@y.test", "all@y.test", Standing.DELIVERED, 2, 0, ""),
        Target("b@y.test", "all@y.test", error="no such user here"),
    )
    queued = Queued(
        ENVELOPE, 100, State.HOLD, 99, targets, (256,), ((257, "c@y.test"),)
    )
    assert decode_queued(encode_queued(queued)) == queued


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", encode_envelope(ENVELOPE)])
def test_other_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(Damaged):
        decode_queued(data)


def test_a_filing_is_an_envelope_without_recipients() -> None:
    filing = Envelope("", (), 17, filing=Filing(256, 6, 1, ("$a",)))
    assert decode_envelope(encode_envelope(filing)) == filing
    assert decode_envelope(encode_envelope(ENVELOPE)).filing is None


def test_an_envelope_survives_the_log() -> None:
    envelope = Envelope(
        "A@x.test",
        (Recipient("Bob@example.test"), Recipient("é@x.test", "NEVER", "utf-8;é@x")),
        1_700_000_000_000,
        smtputf8=True,
        requiretls=True,
        ret="HDRS",
        envid="Q 1",
        submitter="a@x.test",
    )
    assert decode_envelope(encode_envelope(envelope)) == envelope


def test_envelopes_of_older_versions_read_as_before() -> None:
    old = ["a@x.test", [["b@x.test"]], 17, 0, "7BIT", "192.0.2.1", "x.test", None]
    for fields in (old, old[:7]):
        found = decode_envelope(msgspec.msgpack.encode(fields))
        assert found == Envelope(
            *("a@x.test", (Recipient("b@x.test"),), 17, 0),
            *("7BIT", "192.0.2.1", "x.test"),
        )


def test_text_that_is_not_utf_8_is_an_error_of_the_same_kind() -> None:
    data = encode_envelope(Envelope("a@x.test", (), 0)).replace(b"x.test", b"\xff.test")
    with pytest.raises(msgspec.DecodeError):
        decode_envelope(data)
    entry = Queued(Envelope("a@x.test", (), 0), 0, State.HOLD, 0, ())
    with pytest.raises(Damaged):
        decode_queued(encode_queued(entry).replace(b"x.test", b"\xff.test"))


@pytest.mark.parametrize("id", [0, 1, 2**36, 2**63, 2**64 - 1])
def test_a_queue_id_names_its_number_in_any_case(id: int) -> None:
    assert len(queue_id(id)) == 13
    assert parse_queue_id(queue_id(id).lower()) == id


@pytest.mark.parametrize("text", ["", "0", "Z" * 13, "!" * 13, "0" * 14])
def test_what_is_not_a_queue_id_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="queue id"):
        parse_queue_id(text)
