import msgspec
import pytest

from fastsmtp.queue.message import (
    Envelope,
    Recipient,
    decode_envelope,
    encode_envelope,
    parse_queue_id,
    queue_id,
)


def test_an_envelope_survives_the_log() -> None:
    envelope = Envelope("A@x.test", (Recipient("Bob@example.test"),), 1_700_000_000_000)
    assert decode_envelope(encode_envelope(envelope)) == envelope


def test_text_that_is_not_utf_8_is_a_decode_error() -> None:
    data = encode_envelope(Envelope("a@x.test", (), 0)).replace(b"x.test", b"\xff.test")
    with pytest.raises(msgspec.DecodeError):
        decode_envelope(data)


@pytest.mark.parametrize("id", [0, 1, 2**36, 2**63, 2**64 - 1])
def test_a_queue_id_names_its_number_in_any_case(id: int) -> None:
    assert len(queue_id(id)) == 13
    assert parse_queue_id(queue_id(id).lower()) == id


@pytest.mark.parametrize("text", ["", "0", "Z" * 13, "!" * 13, "0" * 14])
def test_what_is_not_a_queue_id_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="queue id"):
        parse_queue_id(text)
