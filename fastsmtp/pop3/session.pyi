"""The face of the compiled engine; its laws are at the head of ext/pop3/session.pyx."""

from collections.abc import Callable
from typing import final

from fastsmtp.errors import Refused
from fastsmtp.pop3.door import Door, Maildrop
from fastsmtp.pop3.offers import Offers
from fastsmtp.pop3.options import Pop3Options

Piece = bytes | int | tuple[int, int]
"""Octets; a message by number from 0; a message and how many lines of its body."""

@final
class Service:
    kept: int
    cells: memoryview[int]
    def __init__(
        self,
        options: Pop3Options,
        door: Door,
        cells: memoryview[int],
        clock: Callable[[], float],
        trouble: Callable[[Exception], None],
        offers: Offers,
    ) -> None: ...

@final
class Session:
    peer: object
    secured: str
    upgrade: bool
    login: str
    private: bool
    utf8: bool
    drop: Maildrop | None
    count: int
    marked: int
    state: int
    parting: str
    pending: bool
    began: float
    def __init__(self, service: Service, peer: object) -> None: ...
    @property
    def holding(self) -> int: ...
    @property
    def busy(self) -> bool: ...
    def greet(self) -> bytes: ...
    def receive(
        self, data: bytes | bytearray | memoryview, n: int
    ) -> list[Piece] | None: ...
    def resume(self) -> list[Piece] | None: ...
    def answer(self, answer: Refused | bytes | None) -> list[Piece] | None: ...
    def secure(self, version: str) -> None: ...
    def shut(self, reply: bytes, parting: str) -> list[Piece] | None: ...
    def lost(self) -> None: ...
    def handed(self, top: bool, well: bool) -> None: ...
