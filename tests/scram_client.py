"""The client's side of SCRAM-SHA-256, for tests: readable, and trusting nothing."""

import hashlib
import hmac
from base64 import b64decode, b64encode

from fastsmtp.auth.passwords import prepare


class ScramClient:
    """`first()`, then `final(server_first)`, then `ends(server_final)`.

    name is sent as it is given; the caller escapes it."""

    def __init__(
        self,
        name: str,
        password: str,
        *,
        header: str = "n,,",
        nonce: str = "fyko+d2lbbFgONRv9qkxdawL",
    ) -> None:
        self.bare = f"n={name},r={nonce}"
        self.header = header
        self.password = password
        self.nonce = nonce
        self.salted = b""
        self.message = ""

    def first(self) -> bytes:
        return (self.header + self.bare).encode()

    def final(self, server_first: bytes) -> bytes:
        words = dict(w.split("=", 1) for w in server_first.decode().split(","))
        assert words["r"].startswith(self.nonce)
        assert len(words["r"]) > len(self.nonce)
        salt, rounds = b64decode(words["s"]), int(words["i"])
        self.salted = hashlib.pbkdf2_hmac(
            "sha256", prepare(self.password), salt, rounds
        )
        key = hmac.digest(self.salted, b"Client Key", "sha256")
        without = f"c={b64encode(self.header.encode()).decode()},r={words['r']}"
        self.message = f"{self.bare},{server_first.decode()},{without}"
        signature = hmac.digest(
            hashlib.sha256(key).digest(), self.message.encode(), "sha256"
        )
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{without},p={b64encode(proof).decode()}".encode()

    def ends(self, server_final: bytes) -> bool:
        """Whether the server has shown that it knows the password, too."""
        key = hmac.digest(self.salted, b"Server Key", "sha256")
        expected = hmac.digest(key, self.message.encode(), "sha256")
        return server_final == b"v=" + b64encode(expected)
