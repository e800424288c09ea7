"""Password records: what fits, what does not, and the vectors of RFC 7677."""

import hashlib
import hmac
from base64 import b64decode, b64encode

import pytest

from fastsmtp.auth.passwords import (
    generate_password,
    hash_password,
    prepare,
    scram_keys,
    verify_password,
    verify_scram,
)

# RFC 7677 section 3
SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
MESSAGE = (
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
PROOF = b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
SIGNATURE = b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_argon2id_with_the_parameters_of_owasp() -> None:
    record = hash_password("secret")
    assert record.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert record != hash_password("secret")
    assert verify_password(record, "secret")
    assert not verify_password(record, "Secret")


def test_no_record_lets_nobody_in() -> None:
    assert not verify_password("", "secret")
    assert not verify_password("", "")
    assert not verify_password("$argon2id$broken", "secret")
    assert not verify_password(hash_password("x"), "\x00")


def test_scram_as_in_rfc_7677() -> None:
    keys = scram_keys("pencil", SALT, 4096)
    signature = verify_scram(keys, MESSAGE, PROOF)
    assert signature is not None
    assert b64encode(signature) == SIGNATURE


def test_scram_refuses_a_wrong_proof() -> None:
    keys = scram_keys("pencil", SALT, 4096)
    assert verify_scram(keys, MESSAGE, PROOF[:-1]) is None
    assert verify_scram(keys, MESSAGE, PROOF[:-1] + b"\0") is None
    assert verify_scram(keys, MESSAGE + b"x", PROOF) is None
    assert verify_scram(scram_keys("pen", SALT, 4096), MESSAGE, PROOF) is None


def test_scram_keys_are_salted_anew() -> None:
    one, other = scram_keys("pencil"), scram_keys("pencil")
    assert one.salt != other.salt
    assert len(one.salt) == 16
    assert one.iterations >= 4096
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", one.salt, one.iterations)
    assert one.server_key == hmac.digest(salted, b"Server Key", "sha256")


@pytest.mark.parametrize(
    ("given", "prepared"),  # RFC 4013 section 3
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("pass\u00a0word", "pass word"),
        ("e\u0301", "é"),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_prepared_as_in_rfc_4013(given: str, prepared: str) -> None:
    assert prepare(given) == prepared.encode()


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "is empty"),
        ("\u00ad", "is empty"),
        ("a\x07", "control or unassigned"),
        ("a\u0378", "control or unassigned"),
        ("\u0627\u0031", "right-to-left"),
        ("\u0627a\u0627", "right-to-left"),
        ("x" * 1025, "longer than 1024"),
    ],
)
def test_passwords_that_are_not_taken(password: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        prepare(password)


def test_generated_passwords() -> None:
    passwords = {generate_password() for _ in range(100)}
    assert len(passwords) == 100
    assert all(len(p) == 23 and prepare(p) == p.encode() for p in passwords)
