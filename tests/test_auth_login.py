"""The client's side of SASL, against our own server's side and against liars."""

import hashlib
from base64 import b64encode

import pytest

from fastsmtp.auth.exchange import Password, Proof, Proven
from fastsmtp.auth.login import (
    ROUNDS_MOST,
    ByTurns,
    Login,
    NotAsAgreed,
    Plain,
    Scram,
    begin,
)
from fastsmtp.auth.mechanisms import begin as server
from fastsmtp.auth.passwords import scram_keys

LOGIN = Login("bob", "pencil")
KEYS = scram_keys("pencil", b"a salt of a test")


def test_plain_and_login_say_the_name_and_the_password() -> None:
    assert Plain(LOGIN).first() == b"\0bob\0pencil"
    asked = server("PLAIN", lambda name: KEYS, b"").step(Plain(LOGIN).first())
    assert asked == Password("bob", "pencil")
    exchange, there = ByTurns(LOGIN), server("LOGIN", lambda name: KEYS, b"")
    assert exchange.first() is None
    challenge = there.step(None)
    while isinstance(challenge, bytes):
        challenge = there.step(exchange.step(challenge))
    assert challenge == Password("bob", "pencil")
    with pytest.raises(NotAsAgreed):
        exchange.step(b"")


@pytest.mark.parametrize("name", ["bob", "a,b=c", "b\u00f6b"])
def test_scram_convinces_our_own_server_and_is_convinced(name: str) -> None:
    exchange = Scram(Login(name, "pencil"))
    there = server("SCRAM-SHA-256", lambda asked: KEYS, b"")
    challenge = there.step(exchange.first())
    assert isinstance(challenge, bytes)
    assert not exchange.satisfied
    proof = there.step(exchange.step(challenge))
    assert isinstance(proof, Proof)
    assert proof.name == name
    assert proof.final is not None
    assert exchange.step(proof.final) == b""
    assert exchange.satisfied
    assert isinstance(there.step(b""), Proven)
    with pytest.raises(NotAsAgreed):
        exchange.step(b"")


def test_the_exchange_of_rfc_7677() -> None:
    exchange = Scram(Login("user", "pencil"), nonce="rOprNGfwEbeRWgbNEkqO")
    assert exchange.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    said = exchange.step(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    proof = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert said == b"c=biws,r=" + nonce + b",p=" + proof
    exchange.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert exchange.satisfied


def test_who_does_not_know_the_password_is_found_out() -> None:
    exchange = Scram(LOGIN)
    there = server("SCRAM-SHA-256", lambda asked: KEYS, b"")
    challenge = there.step(exchange.first())
    assert isinstance(challenge, bytes)
    exchange.step(challenge)
    liar = b"v=" + b64encode(hashlib.sha256(b"?").digest())
    with pytest.raises(NotAsAgreed, match="does not know"):
        exchange.step(liar)
    assert not exchange.satisfied


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=other,s=c2FsdA==,i=4096",
        b"r=mine,s=c2FsdA==,i=4096",
        b"r=mineX,s=!,i=4096",
        b"r=mineX,s=c2FsdA==,i=1",
        b"r=mineX,s=c2FsdA==,i=%d" % (ROUNDS_MOST + 1),
        b"r=mineX,s=c2FsdA==,i=4096,m=must",
    ],
)
def test_a_challenge_that_is_none(challenge: bytes) -> None:
    with pytest.raises(NotAsAgreed):
        Scram(LOGIN, nonce="mine").step(challenge)


@pytest.mark.parametrize(
    ("offered", "private", "mechanism"),
    [
        (("PLAIN", "LOGIN", "SCRAM-SHA-256"), True, "SCRAM-SHA-256"),
        (("LOGIN", "PLAIN"), True, "PLAIN"),
        (("LOGIN",), True, "LOGIN"),
        (("SCRAM-SHA-256", "PLAIN"), False, "SCRAM-SHA-256"),
        (("PLAIN", "LOGIN"), False, None),
        (("CRAM-MD5",), True, None),
        ((), True, None),
    ],
)
def test_the_strongest_that_may_be_used(
    offered: tuple[str, ...], private: bool, mechanism: str | None
) -> None:
    exchange = begin(offered, LOGIN, private)
    assert (exchange.mechanism if exchange else None) == mechanism
