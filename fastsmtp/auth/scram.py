"""SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677), without channel binding.

    C: n,,n=alice,r=CLIENT          gs2 header, client-first-bare
    S: r=CLIENTSERVER,s=SALT,i=N    server-first
    C: c=biws,r=CLIENTSERVER,p=P    client-final: the gs2 header again, the proof
    S: v=SIGNATURE                  server-final, which the client answers with nothing

We offer no -PLUS mechanism: a client that says `y` (it could, we cannot) is right, one
that wants it (`p`) is refused.
"""

import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from binascii import Error as NotBase64
from binascii import a2b_base64
from collections.abc import Callable
from typing import Final

from fastsmtp.auth.accounts import ScramKeys
from fastsmtp.auth.exchange import (
    NAME_MOST,
    Broken,
    Proof,
    Proven,
    Step,
    acting_as,
    normal,
    text,
)
from fastsmtp.auth.passwords import ITERATIONS, SALT, verify_scram

NONCE: Final = 18  # octets of ours, 24 characters
NONCE_MOST: Final = 512  # characters of the client's

Keys = Callable[[str], ScramKeys | None]
"""What is stored for a name in lower case; None: nobody has it."""

_NONCE: Final = re.compile(rb"[!-+\--~]+")  # printable ASCII but the comma
_EXTENSIONS: Final = re.compile(rb"(?:,[A-Za-z]=[^,\0]+)*")
_ESCAPE: Final = re.compile(rb"=(2C|3D)?")


def stand_in(secret: bytes, name: str) -> ScramKeys:
    """What is shown for a name that nobody has: the same each time, as a real one is,
    and no password fits it.

    secret  of this server; as long as it stays, so do the salts"""
    made = [
        hmac.digest(secret, word + name.encode(), "sha256")
        for word in (b"salt\0", b"stored\0", b"server\0")
    ]
    return ScramKeys(made[0][:SALT], ITERATIONS, made[1], made[2])


def unescaped(name: bytes) -> bytes | None:
    """A saslname (RFC 5802 5.1): "=2C" is a comma, "=3D" an equals sign."""
    wrong = False

    def one(found: re.Match[bytes]) -> bytes:
        nonlocal wrong
        wrong |= found[1] is None
        return b"," if found[1] == b"2C" else b"="

    made = _ESCAPE.sub(one, name)
    return None if wrong else made


class Scram:
    """One exchange.

    keys    what is stored for a name
    secret  for names that nobody has, see `stand_in`
    nonce   ours; a test gives its own
    """

    def __init__(self, keys: Keys, secret: bytes, nonce: bytes | None = None) -> None:
        self._keys = keys
        self._secret = secret
        self._ours = b64encode(secrets.token_bytes(NONCE)) if nonce is None else nonce
        self._nonce = b""
        self._header = b""
        self._message = b""  # what both sides sign, as far as it is said
        self._name: str | None = None
        self._proven = False

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return b""
        if self._proven:
            return Proven(self._name or "") if not response else Broken("no end")
        return self._first(response) if self._name is None else self._final(response)

    def _first(self, response: bytes) -> Step:
        flag, comma, rest = response.partition(b",")
        authzid, second, bare = rest.partition(b",")
        if not comma or not second:
            return Broken("no GS2 header")
        if flag not in (b"n", b"y"):
            return Broken("channel binding is not offered")
        words = re.fullmatch(rb"n=([^,]*),r=([^,]*)(.*)", bare, re.DOTALL)
        if words is None or not _EXTENSIONS.fullmatch(words[3]):
            return Broken("not n=name,r=nonce")  # m= is an extension we must not ignore
        octets = unescaped(words[1])
        name = None if octets is None else text(octets, NAME_MOST)
        nonce = words[2]
        if name is None or not self._fits(nonce):
            return Broken("a bad name or nonce")
        self._header = flag + b"," + authzid + b","
        self._name = normal(name)
        return self._bound(authzid) or self._challenge(nonce, bare)

    @staticmethod
    def _fits(nonce: bytes) -> bool:
        return len(nonce) <= NONCE_MOST and _NONCE.fullmatch(nonce) is not None

    def _bound(self, authzid: bytes) -> Broken | None:
        if authzid and not authzid.startswith(b"a="):
            return Broken("no GS2 header")
        other = unescaped(authzid[2:])
        if other is None:
            return Broken("a bad authzid")
        return acting_as(other, self._name or "")

    def _challenge(self, nonce: bytes, bare: bytes) -> bytes:
        keys = self._known()
        self._nonce = nonce + self._ours
        challenge = b"r=%b,s=%b,i=%d" % (
            *(self._nonce, b64encode(keys.salt), keys.iterations),
        )
        self._message = bare + b"," + challenge + b","
        return challenge

    def _known(self) -> ScramKeys:
        name = self._name or ""
        return self._keys(name) or stand_in(self._secret, name)

    def _final(self, response: bytes) -> Step:
        signed, comma, proof = response.rpartition(b",p=")
        words = re.fullmatch(rb"c=([^,]*),r=([^,]*)(.*)", signed, re.DOTALL)
        if not comma or words is None or not _EXTENSIONS.fullmatch(words[3]):
            return Broken("not c=header,r=nonce,p=proof")
        if words[1] != b64encode(self._header):
            return Broken("the GS2 header is another one now")
        if not hmac.compare_digest(words[2], self._nonce):
            return Broken("the nonce is another one now")
        try:
            told = a2b_base64(proof, strict_mode=True)
        except NotBase64:
            return Broken("the proof is not base64")
        if len(told) != hashlib.sha256().digest_size:
            return Broken("the proof has not the size of a hash")
        signature = verify_scram(self._known(), self._message + signed, told)
        name = self._name or ""
        if signature is None:
            return Proof(name, None)
        self._proven = True
        return Proof(name, b"v=" + b64encode(signature))
