"""SCRAM-SHA-256 with a client of our own and the exchange of RFC 7677."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from scram_client import ScramClient

from fastsmtp.auth.accounts import ScramKeys
from fastsmtp.auth.exchange import Broken, Proof, Proven
from fastsmtp.auth.passwords import scram_keys
from fastsmtp.auth.scram import Scram, stand_in

SECRET = b"the server's own"
KEYS = {"user": scram_keys("pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))}
NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
CHALLENGE = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SIGNED = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def server(nonce: bytes | None = NONCE) -> Scram:
    return Scram(KEYS.get, SECRET, nonce)


def test_the_exchange_of_rfc_7677() -> None:
    exchange = server()
    assert exchange.step(None) == b""
    assert exchange.step(FIRST) == CHALLENGE
    assert exchange.step(FINAL) == Proof("user", SIGNED)
    assert exchange.step(b"") == Proven("user")


def talk(client: ScramClient, exchange: Scram) -> object:
    challenge = exchange.step(client.first())
    assert isinstance(challenge, bytes), challenge
    return exchange.step(client.final(challenge))


@pytest.mark.parametrize("header", ["n,,", "y,,", "n,a=user,", "y,a=USER,"])
def test_flags_and_an_authzid_that_is_the_name(header: str) -> None:
    client, exchange = ScramClient("User", "pencil", header=header), server(None)
    proof = talk(client, exchange)
    assert isinstance(proof, Proof)
    assert proof.name == "user"
    assert client.ends(proof.final or b"")


def test_a_wrong_password_proves_nothing_and_does_not_go_on() -> None:
    exchange = server(None)
    assert talk(ScramClient("user", "pen"), exchange) == Proof("user", None)


def test_names_are_unescaped() -> None:
    KEYS["a,b=c"] = KEYS["user"]
    proof = talk(ScramClient("a=2Cb=3Dc", "pencil"), server(None))
    assert isinstance(proof, Proof)
    assert proof.final
    del KEYS["a,b=c"]


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n",
        b"n,,",
        b"n,,n=user",
        b"n,,n=user,r=",
        b"n,,n=,r=abc",
        b"n,,n=us=er,r=abc",
        b"n,,n=user,r=a\x80c",
        b"n,,n=user,r=a c",
        b"n,,n=us\0er,r=abc",
        b"n,,n=\xff,r=abc",
        b"n,,r=abc,n=user",
        b"n,,m=1,n=user,r=abc",
        b"n,,n=user,r=abc,x",
        b"n,,n=user,r=abc,x=\0",
        b"n,a=bob,n=user,r=abc",
        b"n,user,n=user,r=abc",
        b"n,a=us=er,n=user,r=abc",
        b"p=tls-unique,,n=user,r=abc",
        b"x,,n=user,r=abc",
        b"n,,n=user,r=" + b"a" * 513,
    ],
)
def test_what_no_client_may_say_first(first: bytes) -> None:
    assert isinstance(server().step(first), Broken)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"c=biws", b"c=eSws"),  # y,, where n,, was said: somebody has changed it
        (b"c=biws", b"c=cD10bHMtdW5pcXVlLCw="),
        (b"r=rOpr", b"r=rOpq"),
        (b"k0,p=", b"k00,p="),
        (b"k0,p=", b"k0,m=1x,x,p="),
        (b"p=dHzb", b"p=dHz"),
        (b"p=dHzb", b"p=dHzbdHzb"),
        (b"p=dHzb", b"p=*Hzb"),
        (b",p=", b",q="),
        (FINAL, b""),
    ],
)
def test_what_no_client_may_say_last(old: bytes, new: bytes) -> None:
    exchange = server()
    exchange.step(FIRST)
    assert isinstance(exchange.step(FINAL.replace(old, new)), Broken)


def test_nothing_more_may_come_behind_the_proof() -> None:
    exchange = server()
    exchange.step(FIRST)
    exchange.step(FINAL)
    assert isinstance(exchange.step(b"x"), Broken)


def test_extensions_are_signed_and_passed_over() -> None:
    exchange = server()
    assert exchange.step(FIRST + b",x=1,y=2") == CHALLENGE


def test_attack_9_a_name_that_nobody_has_is_shown_a_salt_of_its_own() -> None:
    """The same at each try, in each process, and shaped like a real one."""

    def challenge(name: bytes, secret: bytes = SECRET) -> bytes:
        exchange = Scram(KEYS.get, secret, NONCE)
        said = exchange.step(b"n,,n=" + name + b",r=abc")
        assert isinstance(said, bytes)
        return said

    ghost = challenge(b"ghost")
    assert ghost == challenge(b"ghost") == challenge(b"GHOST")
    assert ghost != challenge(b"other")
    assert ghost != challenge(b"ghost", b"another server")
    assert len(ghost) == len(challenge(b"user"))
    assert ghost.split(b",")[2] == challenge(b"user").split(b",")[2]


def test_attack_9_no_password_fits_a_name_that_nobody_has() -> None:
    assert talk(ScramClient("ghost", "pencil"), server(None)) == Proof("ghost", None)
    keys = stand_in(SECRET, "ghost")
    assert isinstance(keys, ScramKeys)
    assert len({keys.salt, keys.stored_key[:16], keys.server_key[:16]}) == 3


def test_our_nonces_are_new_each_time() -> None:
    said = {server(None).step(FIRST) for _ in range(100)}
    assert len(said) == 100
    assert b64encode(b"n,,") == b"biws"
