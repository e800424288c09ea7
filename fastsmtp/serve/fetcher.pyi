"""The face of the compiled module; its text is ext/serve/fetcher.pyx."""

from collections.abc import Callable, Sequence

from fastsmtp.errors import Refused
from fastsmtp.mailbox.drop import Drop
from fastsmtp.net.clock import Clock
from fastsmtp.net.connection import Connection
from fastsmtp.net.tls import Tls
from fastsmtp.pop3.options import Pop3Options
from fastsmtp.pop3.session import Service, Session
from fastsmtp.report import Peer
from fastsmtp.serve.pop3d import Pop3d
from fastsmtp.store.base import Store

class Desk:
    door: Pop3d
    service: Service
    options: Pop3Options
    clock: Clock
    shared: bytearray
    small: memoryview
    store: Store
    later: Callable[[Fetcher, float], object]
    giving: int
    keeps: bool
    tls: Tls | None
    shortest: float
    def __init__(
        self,
        door: Pop3d,
        service: Service,
        options: Pop3Options,
        clock: Clock,
        shared: bytearray,
        store: Store,
    ) -> None: ...

class Fetcher(Connection):
    desk: Desk
    session: Session
    address: str
    network: str | bytes
    family: str
    who: Peer
    drop: Drop
    marked: Sequence[int] | None
    removing: bool
    retrieved: set[int] | None
    sealed: str
    active: float
    def __init__(self, desk: Desk) -> None: ...
    def opened(self) -> None: ...
    def steer(self) -> None: ...
    def ended(self) -> None: ...
    def get_buffer(self, sizehint: int) -> bytearray | memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def eof_received(self) -> bool: ...
    @property
    def number(self) -> int: ...
    @property
    def busy(self) -> bool: ...
    def answer(self, answer: Refused | bytes | None) -> None: ...
    def shut(self, reply: bytes, parting: str) -> None: ...
    def go_on(self) -> None: ...
    def secured(self, version: str) -> None: ...
