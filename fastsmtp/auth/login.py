"""The client's side of a SASL exchange, without IO, for logging in to a smarthost.

    exchange = begin(offered, login, private)
    octets = exchange.first()           # the initial response; None: there is none
    octets = exchange.step(challenge)   # the answer; `NotAsAgreed` ends the exchange
    exchange.satisfied                  # the server has shown what it must show

The strongest mechanism that both know is taken. PLAIN and LOGIN show the password to
whoever listens: they are for connections that nobody can listen to.
"""

import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from binascii import Error as NotBase64
from binascii import a2b_base64
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from fastsmtp.auth.passwords import prepare

NONCE: Final = 18  # octets of ours
ROUNDS_LEAST: Final = 4096  # RFC 7677 4
ROUNDS_MOST: Final = 600_000  # more would stop us for longer than a reply may take


class NotAsAgreed(Exception):
    """The server does not follow the mechanism, or does not know the password."""


class Login(NamedTuple):
    """Who we are to a smarthost."""

    name: str
    password: str


class Exchange(Protocol):
    mechanism: str

    @property
    def satisfied(self) -> bool: ...

    def first(self) -> bytes | None: ...

    def step(self, challenge: bytes) -> bytes: ...


class Plain:
    """RFC 4616."""

    mechanism = "PLAIN"
    satisfied = True

    def __init__(self, login: Login) -> None:
        self._login = login

    def first(self) -> bytes | None:
        name, password = self._login
        return b"\0" + name.encode() + b"\0" + password.encode()

    def step(self, challenge: bytes) -> bytes:
        if challenge:
            raise NotAsAgreed("a challenge after the password")
        return self.first() or b""


class ByTurns:
    """LOGIN: asked for the name, then for the password, whatever the words are."""

    mechanism = "LOGIN"
    satisfied = True

    def __init__(self, login: Login) -> None:
        self._answers = [login.password.encode(), login.name.encode()]

    def first(self) -> bytes | None:
        return None

    def step(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise NotAsAgreed("a challenge after the password")
        return self._answers.pop()


class Scram:
    """SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.

    nonce  ours; a test gives its own"""

    mechanism = "SCRAM-SHA-256"

    def __init__(self, login: Login, nonce: str = "") -> None:
        self._password = _prepared(login.password)
        self._nonce = nonce or b64encode(secrets.token_bytes(NONCE)).decode()
        name = _prepared(login.name).decode()
        name = name.replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r={self._nonce}"
        self._expected = b""
        self.satisfied = False

    def first(self) -> bytes | None:
        return f"n,,{self._bare}".encode()

    def step(self, challenge: bytes) -> bytes:
        if self.satisfied:
            raise NotAsAgreed("a challenge after the end")
        if not self._expected:
            return self._final(challenge)
        if not hmac.compare_digest(challenge, self._expected):
            raise NotAsAgreed("the server does not know the password")
        self.satisfied = True
        return b""

    def _final(self, challenge: bytes) -> bytes:
        words = re.fullmatch(rb"r=([!-+\--~]+),s=([^,]+),i=([0-9]{1,9})", challenge)
        if words is None:
            raise NotAsAgreed("not r=nonce,s=salt,i=rounds")
        nonce, rounds = words[1].decode(), int(words[3])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise NotAsAgreed("the nonce is not ours with theirs behind it")
        if not ROUNDS_LEAST <= rounds <= ROUNDS_MOST:
            raise NotAsAgreed(f"{rounds} rounds")
        try:
            salt = a2b_base64(words[2], strict_mode=True)
        except NotBase64:
            raise NotAsAgreed("the salt is not base64") from None
        salted = _salted(self._password, salt, rounds)
        without = f"c=biws,r={nonce}"
        signed = f"{self._bare},{challenge.decode()},{without}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        verifier = hmac.digest(server_key, signed, "sha256")
        self._expected = b"v=" + b64encode(verifier)
        return f"{without},p={b64encode(proof).decode()}".encode()


@lru_cache(64)
def _salted(password: bytes, salt: bytes, rounds: int) -> bytes:
    """Slow on purpose; each server of ours shows the same salt again (RFC 5802 5.1)."""
    return hashlib.pbkdf2_hmac("sha256", password, salt, rounds)


def _prepared(text: str) -> bytes:
    """SASLprep where it applies; what it forbids goes as it is."""
    try:
        return prepare(text)
    except ValueError:
        return text.encode()


def begin(offered: tuple[str, ...], login: Login, private: bool) -> Exchange | None:
    """The exchange to have with a server that offers these; None: there is none.

    private  nobody can listen: TLS is on, or the way does not leave this machine"""
    if Scram.mechanism in offered:
        return Scram(login)
    if private and Plain.mechanism in offered:
        return Plain(login)
    if private and ByTurns.mechanism in offered:
        return ByTurns(login)
    return None
