"""The server's side of a SASL exchange, without IO: octets in, a `Step` out.

    exchange = begin("PLAIN", secrets)
    step = exchange.step(response)      # the initial response, or None without one

A step is one of

    bytes      the next challenge
    Password   a name and a password: whoever asks has to verify them, which takes time
    Proof      a name, and whether the client has shown that it knows the password
    Proven     the end of an exchange whose `Proof` was right
    Broken     not what the mechanism allows; why, for the log

Laws
- An exchange takes at most three steps and keeps no more than one response.
- A name that nobody has goes through the same steps, with challenges that are the same
  each time: nobody learns from them who has an account.
- Nothing here counts failures or waits; see `auth.guesses` for that.
"""

from typing import Final, NamedTuple, Protocol

from fastsmtp.auth.passwords import LONGEST, prepare

NAME_MOST: Final = 254  # octets of a name, as an address has at most


class Password(NamedTuple):
    """`name` as `normal` gives it; `password` as it was sent."""

    name: str
    password: str


class Proof(NamedTuple):
    """`final` is what a client that was right is told at last; None: it was wrong."""

    name: str
    final: bytes | None


class Proven(NamedTuple):
    name: str


class Broken(NamedTuple):
    why: str


Step = bytes | Password | Proof | Proven | Broken


class Exchange(Protocol):
    def step(self, response: bytes | None) -> Step:
        """`response` is None only at first, where the client gave none."""
        ...


def normal(name: str) -> str:
    """A name as accounts are looked up by: SASLprep (RFC 4013), in lower case.

    What SASLprep forbids stays as it is: nobody has such a name."""
    try:
        return prepare(name).decode().lower()
    except ValueError:
        return name.lower()


def text(octets: bytes, most: int) -> str | None:
    """UTF-8 without NUL, not empty and at most so long; else None."""
    if not 0 < len(octets) <= most or 0 in octets:
        return None
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None


class Plain:
    """PLAIN (RFC 4616): `[authzid] NUL authcid NUL passwd`."""

    PASSWORD_MOST: Final = LONGEST

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return b""
        parts = response.split(b"\0")
        if len(parts) != 3:
            return Broken("not [authzid] NUL name NUL password")
        name = text(parts[1], NAME_MOST)
        password = text(parts[2], self.PASSWORD_MOST)
        if name is None or password is None:
            return Broken("name or password is empty, too long or not UTF-8")
        return acting_as(parts[0], normal(name)) or Password(normal(name), password)


def acting_as(authzid: bytes, name: str) -> Broken | None:
    """Nobody may act as somebody else: an authzid is the name again, or not there."""
    if not authzid:
        return None
    other = text(authzid, NAME_MOST)
    if other is None or normal(other) != name:
        return Broken("the authzid is another name")
    return None


class Login:
    """LOGIN (draft-murchison-sasl-login): what old clients speak."""

    def __init__(self) -> None:
        self._name: str | None = None

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return b"Username:"
        if self._name is None:
            name = text(response, NAME_MOST)
            if name is None:
                return Broken("the name is empty, too long or not UTF-8")
            self._name = normal(name)
            return b"Password:"
        password = text(response, Plain.PASSWORD_MOST)
        if password is None:
            return Broken("the password is empty, too long or not UTF-8")
        return Password(self._name, password)
