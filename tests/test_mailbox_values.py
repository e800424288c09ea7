from collections.abc import Callable

import msgspec
import pytest

from fastsmtp.errors import Damaged
from fastsmtp.mailbox.values import (
    AccountHead,
    Change,
    Email,
    Flag,
    Mailbox,
    What,
    decode_change,
    decode_email,
    decode_head,
    decode_mailbox,
    encode,
    references,
)
from fastsmtp.store import keys

EMAIL = Email(7, 100, 1_700_000_000_000, int(Flag.SEEN), 5, 4, {1: 3, 9: 1}, ("$x",))
PAIRS: list[tuple[object, Callable[[bytes], object]]] = [
    (AccountHead(1, 2, 3, 4, 5, 6), decode_head),
    (Mailbox("INBOX", 1, role="inbox"), decode_mailbox),
    (EMAIL, decode_email),
    (Change(int(What.FILED), 1, 1, 1), decode_change),
]


@pytest.mark.parametrize(("value", "decode"), PAIRS)
def test_a_value_survives_the_store(
    value: object, decode: Callable[[bytes], object]
) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize("decode", [decode for _, decode in PAIRS])
@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\x91\x00", b"\x91\xa1\xff"])
def test_other_bytes_are_damage(decode: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(Damaged):
        decode(data)


def test_a_value_of_later_times_still_decodes() -> None:
    longer = msgspec.msgpack.encode([*msgspec.structs.astuple(EMAIL), "new field"])
    assert decode_email(longer) == EMAIL


def test_an_email_refers_to_its_body() -> None:
    value = encode(EMAIL)
    assert references(256, keys.email(1), value) == (7,)
    assert references(256, keys.HEAD, encode(AccountHead())) == ()
    assert references(keys.DIRECTORY, b"e", value) == ()
