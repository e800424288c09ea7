"""What receivers write, held to the types that read it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.queue.encoded import encode_mail, queue_id
from fastsmtp.queue.message import (
    Envelope,
    Recipient,
    decode_envelope,
    parse_queue_id,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(
    *(TEXTS, st.lists(TEXTS, max_size=20)),
    *(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1)),
    *(TEXTS, TEXTS),
)
def test_an_envelope_reads_back(
    sender: str, addresses: list[str], arrived: int, skip: int, client: str, helo: str
) -> None:
    data = encode_mail(sender, addresses, arrived, skip, "8BITMIME", client, helo)
    recipients = tuple(map(Recipient, addresses))
    envelope = Envelope(sender, recipients, arrived, skip, "8BITMIME", client, helo)
    assert decode_envelope(data) == envelope
    fields = [sender, [[to] for to in addresses], arrived, skip, "8BITMIME"]
    assert data == msgspec.msgpack.encode([*fields, client, helo])


@pytest.mark.parametrize("count", [0, 1, 15, 16, 1000, 70_000])
@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_lengths_at_every_edge_of_msgpack(count: int, length: int) -> None:
    addresses = ["a"] * count
    text = "é" * (length // 2) + "x" * (length % 2)
    decoded = decode_envelope(encode_mail(text, addresses, 0, 0, "7BIT", text, text))
    assert decoded.reverse_path == decoded.client == decoded.helo == text
    assert len(decoded.recipients) == count


@pytest.mark.parametrize(
    "number", [0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1]
)
def test_numbers_at_every_edge_of_msgpack(number: int) -> None:
    data = encode_mail("", [], number, 0, "7BIT", "", "")
    assert decode_envelope(data).arrived == number


@given(st.integers(0, 2**64 - 1))
def test_a_queue_id_reads_back(id: int) -> None:
    assert parse_queue_id(queue_id(id)) == id
    assert len(queue_id(id)) == 13
