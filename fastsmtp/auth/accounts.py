"""Who has mail here: the value of an account, and the directory that finds it.

Encoded as a msgpack array; new fields go last and carry a default.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from fastsmtp.errors import Damaged


class ScramKeys(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What SCRAM-SHA-256 needs to know of a password (RFC 5802 section 3)."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class Account(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One account.

    id        its partition in the store; never given twice
    address   as it was written when the account was made; compared in lower case
    password  an argon2 record ("$argon2id$…"); "" lets nobody in
    created   milliseconds, wall clock
    """

    id: int
    address: str
    password: str = ""
    scram: ScramKeys | None = None
    created: int = 0


_decoder: Final = msgspec.msgpack.Decoder(Account)

encode_account: Final = msgspec.msgpack.Encoder().encode


def decode_account(data: bytes) -> Account:
    """Raises `Damaged` on anything else."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"account: {error}") from error


class Directory:
    """Finds accounts by address; a hit costs one dictionary look-up.

    find   the stored bytes for a lower-case address, or None: a read that never blocks

    Who is found is remembered until `changed`. Who is not found is asked for again
    each time, so a stranger's guesses take no memory and a new account is there at
    once. The spelling of an address is part of the memory's key, so it is bounded.
    """

    LIMIT: Final = 100_000

    def __init__(self, find: Callable[[str], bytes | None]) -> None:
        self._find = find
        self._known: dict[str, Account] = {}

    def lookup(self, address: str) -> Account | None:
        """The account that has this address, in any case; `Damaged` if unreadable."""
        return self._known.get(address) or self._ask(address)

    def _ask(self, address: str) -> Account | None:
        known = self._known  # before reading: a change meanwhile leaves this one behind
        data = self._find(address.lower())
        if data is None:
            return None
        if len(known) >= self.LIMIT:
            known.clear()
        account = known[address] = decode_account(data)
        return account

    def changed(self) -> None:
        """Accounts were made, changed or removed: read again. From any thread."""
        self._known = {}
