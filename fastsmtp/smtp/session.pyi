from collections.abc import Callable
from typing import final

from fastsmtp.errors import Refused
from fastsmtp.smtp.door import Door, Stream
from fastsmtp.smtp.offers import Offers
from fastsmtp.smtp.options import SmtpOptions

@final
class Service:
    kept: int
    def __init__(
        self,
        options: SmtpOptions,
        hostname: str,
        door: Door,
        cells: memoryview[int],
        clock: Callable[[], float],
        trouble: Callable[[Exception], None],
        offers: Offers | None = None,
    ) -> None: ...
    @property
    def crowded(self) -> bool: ...

@final
class Body:
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def lines(self) -> int: ...
    @property
    def longest(self) -> int: ...
    @property
    def eight_bit(self) -> int: ...
    @property
    def received(self) -> int: ...
    @property
    def header_end(self) -> int: ...

@final
class Session:
    peer: object
    helo: str
    extended: bool
    secured: str
    upgrade: bool
    login: str
    trusted: bool
    private: bool
    mechanism: str
    extras: bool
    smtputf8: bool
    requiretls: bool
    ret: str
    envid: str
    submitter: str
    priority: int
    hold_for: int
    hold_until: int
    by: int
    by_mode: str
    reverse_path: str
    recipients: list[str]
    declared_size: int
    eight_bit: bool
    stream: Stream | None
    id: int
    queue_id: str
    head: bytes
    arrived: int
    opened: float
    data_at: float
    began: float
    address: str | None
    body: Body | None
    size: int
    skip: int
    state: int
    parting: str
    pending: bool
    def __init__(self, service: Service, peer: object) -> None: ...
    @property
    def holding(self) -> int: ...
    @property
    def busy(self) -> bool: ...
    @property
    def in_transaction(self) -> bool: ...
    @property
    def body_type(self) -> str: ...
    @property
    def options(self) -> list[tuple[str, str]]: ...
    @property
    def protocol(self) -> str: ...
    def greet(self) -> bytes: ...
    def receive(self, data: bytes | bytearray | memoryview, n: int) -> bytes | None: ...
    def resume(self) -> bytes | None: ...
    def answer(
        self, answer: Refused | bytes | list[Refused | None] | None
    ) -> bytes | None: ...
    def secure(self, version: str) -> None: ...
    def shut(self, refused: Refused, parting: str) -> bytes | None: ...
    def lost(self) -> None: ...
