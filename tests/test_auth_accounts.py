import pytest

from fastsmtp.auth.accounts import (
    Account,
    Directory,
    ScramKeys,
    decode_account,
    encode_account,
)
from fastsmtp.errors import Damaged

ALICE = Account(
    256, "Alice@example.test", "$argon2id$x", ScramKeys(b"s", 4096, b"k", b"v"), 17
)


class Finder:
    """The stored accounts, and how often each was asked for."""

    def __init__(self) -> None:
        self.stored = {"alice@example.test": encode_account(ALICE)}
        self.asked: list[str] = []

    def __call__(self, address: str) -> bytes | None:
        self.asked.append(address)
        return self.stored.get(address)


def test_an_account_survives_the_store() -> None:
    assert decode_account(encode_account(ALICE)) == ALICE
    assert decode_account(encode_account(Account(1, "a@b"))) == Account(1, "a@b")


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", b"\x92\x01\xa1\xff", b"junk"])
def test_other_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(Damaged, match="account"):
        decode_account(data)


def test_an_address_is_found_in_any_case_and_remembered() -> None:
    finder = Finder()
    directory = Directory(finder)
    for spelling in ("alice@example.test", "ALICE@Example.Test") * 2:
        assert directory.lookup(spelling) == ALICE
    assert finder.asked == ["alice@example.test"] * 2  # one for each spelling


def test_what_is_unknown_is_asked_for_again() -> None:
    finder = Finder()
    directory = Directory(finder)
    assert directory.lookup("bob@example.test") is None
    finder.stored["bob@example.test"] = encode_account(Account(257, "bob@example.test"))
    found = directory.lookup("bob@example.test")
    assert found is not None
    assert found.id == 257


def test_a_change_is_seen_when_told() -> None:
    finder = Finder()
    directory = Directory(finder)
    directory.lookup("alice@example.test")
    del finder.stored["alice@example.test"]
    assert directory.lookup("alice@example.test") == ALICE
    directory.changed()
    assert directory.lookup("alice@example.test") is None


def test_its_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Directory, "LIMIT", 2)
    finder = Finder()
    directory = Directory(finder)
    name = "alice@example.test"
    for n in (0, 1, 2, 3, 4, 5, 7, 8):
        spelling = name[:n].upper() + name[n:]
        assert directory.lookup(spelling) == ALICE
        assert directory.lookup(spelling) == ALICE
    assert len(finder.asked) == 8


def test_a_change_while_it_reads_is_not_missed() -> None:
    finder = Finder()

    def find(address: str) -> bytes | None:
        data = finder(address)
        if len(finder.asked) == 1:  # removed right behind the read, on another thread
            finder.stored.clear()
            directory.changed()
        return data

    directory = Directory(find)
    assert directory.lookup("alice@example.test") == ALICE
    assert directory.lookup("alice@example.test") is None
