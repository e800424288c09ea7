"""The mechanisms there are, by the names that EHLO shows."""

from collections.abc import Callable
from typing import Final

from fastsmtp.auth.exchange import Exchange, Login, Plain
from fastsmtp.auth.scram import Keys, Scram

_MAKERS: Final[dict[str, Callable[[Keys, bytes], Exchange]]] = {
    "SCRAM-SHA-256": Scram,
    "PLAIN": lambda keys, secret: Plain(),
    "LOGIN": lambda keys, secret: Login(),
}


def begin(mechanism: str, keys: Keys, secret: bytes) -> Exchange:
    """An exchange of this mechanism; `keys` and `secret` as in `auth.scram`.

    Raises `KeyError` when there is no such mechanism."""
    return _MAKERS[mechanism](keys, secret)
