"""Password records: argon2id for a password in hand, SCRAM keys for one that is not.

Both are made when the password is set, because neither can be made from the other.
A password is prepared before either (`prepare`), so that it is the same whichever way
a client sends it.
"""

import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from base64 import b64encode
from typing import Final

import argon2

from fastsmtp.auth.accounts import ScramKeys

# OWASP's minimum: 19 MiB, two passes, one lane; 24 ms on one core, the GIL released.
_HASHER: Final = argon2.PasswordHasher(
    time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16
)


def _record_of_nobody() -> str:
    """A record of our cost that no password is known for: its hash is random."""
    p = _HASHER
    salt, made = (
        b64encode(secrets.token_bytes(size)).rstrip(b"=").decode()
        for size in (p.salt_len, p.hash_len)
    )
    cost = f"m={p.memory_cost},t={p.time_cost},p={p.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${made}"


_NOBODY: Final = _record_of_nobody()
ITERATIONS: Final = 4096  # RFC 7677 section 4: at least 4096
SALT: Final = 16  # octets
LONGEST: Final = 1024  # octets of a prepared password: bounds what hashing costs

_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 letters, none alike
_GROUPS: Final = (5, 5, 5, 5)  # 20 letters: 100 bits

_FORBIDDEN: Final = (
    stringprep.in_table_a1,  # unassigned code points
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepare(password: str) -> bytes:
    """SASLprep (RFC 4013): mapped, normalised to NFKC, checked, in UTF-8.

    Raises `ValueError` with a sentence for the person who chose the password."""
    if password.isascii() and password.isprintable() and 0 < len(password) <= LONGEST:
        return password.encode()  # what all that follows would make of it
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c
        for c in password
        if not stringprep.in_table_b1(c)
    )
    text = unicodedata.normalize("NFKC", mapped)
    if not text:
        raise ValueError("the password is empty")
    if any(table(c) for c in text for table in _FORBIDDEN):
        raise ValueError("the password holds a control or unassigned character")
    _check_direction(text)
    data = text.encode()
    if len(data) > LONGEST:
        raise ValueError(f"the password is longer than {LONGEST} octets")
    return data


def _check_direction(text: str) -> None:
    """RFC 3454 section 6: right-to-left text stands alone, and at both ends."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    mixed = any(map(stringprep.in_table_d2, text))
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    if mixed or not ends:
        raise ValueError("the password mixes right-to-left and left-to-right letters")


def hash_password(password: str) -> str:
    """The argon2id record ("$argon2id$…") of a password."""
    return _HASHER.hash(prepare(password))


def verify_password(record: str, password: str) -> bool:
    """Whether the password belongs to the record; "" lets nobody in.

    Takes the same time for a record that does not exist, so that a stranger cannot
    learn by the clock which accounts there are."""
    try:
        candidate = prepare(password)
    except ValueError:
        candidate, record = b"x", ""
    try:
        return _HASHER.verify(record or _NOBODY, candidate) and bool(record)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def scram_keys(
    password: str, salt: bytes | None = None, iterations: int = ITERATIONS
) -> ScramKeys:
    """What SCRAM-SHA-256 needs to know of a password (RFC 5802 section 3, RFC 7677)."""
    salt = secrets.token_bytes(SALT) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", prepare(password), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return ScramKeys(salt, iterations, stored_key, server_key)


def verify_scram(keys: ScramKeys, message: bytes, proof: bytes) -> bytes | None:
    """The server signature when the client's proof is right, else None.

    message  the AuthMessage of RFC 5802 section 3
    """
    signature = hmac.digest(keys.stored_key, message, "sha256")
    if len(proof) != len(signature):
        return None
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    if not hmac.compare_digest(hashlib.sha256(client_key).digest(), keys.stored_key):
        return None
    return hmac.digest(keys.server_key, message, "sha256")


def generate_password() -> str:
    """A random password of 100 bits in groups that can be read out."""
    return "-".join(
        "".join(secrets.choice(_LETTERS) for _ in range(size)) for size in _GROUPS
    )
