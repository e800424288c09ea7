"""PLAIN and LOGIN, octet by octet."""

from __future__ import annotations

import pytest

from fastsmtp.auth.exchange import Broken, Login, Password, Plain, normal
from fastsmtp.auth.mechanisms import begin
from fastsmtp.auth.passwords import prepare

ALICE = Password("alice@example.test", "pass word")


@pytest.mark.parametrize(
    "response",
    [
        b"\0alice@example.test\0pass word",
        b"\0Alice@Example.TEST\0pass word",
        b"alice@example.test\0alice@example.test\0pass word",
        b"ALICE@example.test\0alice@example.test\0pass word",
        "\0a\xadlice@example.test\0pass word".encode(),  # SASLprep drops soft hyphens
    ],
)
def test_rfc_42_plain(response: bytes) -> None:
    assert Plain().step(response) == ALICE


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"alice",
        b"\0alice",
        b"\0alice\0",
        b"\0\0pw",
        b"\0alice\0p\0w",
        b"\0alice\0pw\0",
        b"bob@example.test\0alice@example.test\0pw",  # nobody acts as another
        b"\xff\0alice\0pw",
        b"\0al\xffice\0pw",
        b"\0alice\0p\xffw",
        b"\0alice\0" + b"p" * 1025,
        b"\0" + b"a" * 255 + b"\0pw",
    ],
)
def test_rfc_42_plain_refuses_nul_and_other_nonsense(response: bytes) -> None:
    assert isinstance(Plain().step(response), Broken)


def test_rfc_41_plain_without_an_initial_response() -> None:
    exchange = Plain()
    assert exchange.step(None) == b""
    assert exchange.step(b"\0alice@example.test\0pass word") == ALICE


def test_login_asks_for_name_and_password() -> None:
    exchange = Login()
    assert exchange.step(None) == b"Username:"
    assert exchange.step(b"Alice@example.test") == b"Password:"
    assert exchange.step(b"pass word") == ALICE
    exchange = Login()
    assert exchange.step(b"alice@example.test") == b"Password:"


@pytest.mark.parametrize("wrong", [b"", b"\0", b"a\0b", b"\xff", b"x" * 1025])
def test_login_refuses_nonsense(wrong: bytes) -> None:
    assert isinstance(Login().step(wrong), Broken)
    exchange = Login()
    exchange.step(b"alice")
    assert isinstance(exchange.step(wrong), Broken)


def test_rfc_42_names_are_prepared() -> None:
    assert normal("Ⅸ@Example.Test") == "ix@example.test"  # RFC 4013 3
    assert normal("a\x07b") == "a\x07b"  # forbidden, so nobody's


@pytest.mark.parametrize(
    ("given", "prepared"),
    [
        ("I\xadX", b"IX"),  # RFC 4013 3
        ("user", b"user"),
        ("USER", b"USER"),
        ("ª", b"a"),
        ("Ⅸ", b"IX"),
        ("a\u00a0b", b"a b"),
        (" ~", b" ~"),
    ],
)
def test_rfc_42_passwords_are_prepared(given: str, prepared: bytes) -> None:
    assert prepare(given) == prepared


@pytest.mark.parametrize("given", ["", "\x07", "\u0627\x31", "a\x7f", "x" * 1025])
def test_rfc_42_passwords_that_are_none(given: str) -> None:
    with pytest.raises(ValueError, match="password"):
        prepare(given)


def test_a_mechanism_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        begin("NTLM", lambda name: None, b"secret")
