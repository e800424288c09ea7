"""The clients of a listener: who may come in, and octets to and from a session."""

from asyncio import Future
from collections.abc import Callable
from typing import Any

from fastsmtp.errors import Refused
from fastsmtp.net.clock import Clock
from fastsmtp.net.connection import Connection
from fastsmtp.net.tls import Tls
from fastsmtp.report import Peer, Report
from fastsmtp.serve.networks import Network
from fastsmtp.serve.porch import Porch
from fastsmtp.serve.smtpd import Terms
from fastsmtp.serve.strangers import Strangers
from fastsmtp.smtp.session import Service, Session
from fastsmtp.trace.ring import Trace

def nothing(about: object = None) -> None:
    """What is done where nothing is to be done."""

class Crowd:
    """All clients of one listener. Counts connections and partings.

    terms    as in `fastsmtp.serve.smtpd`
    shared   what all of them read into; commands into its first octets, `small`,
             because they may have to be held
    most     connections at once
    highest  descriptor, the first that no connection may have
    draining send clients away when their transaction is over
    gently   while draining: not before they had a transaction, others serve new ones
    late     called with a client that must wait for disk or memory
    emptied  called when the last one has left
    tls      for STARTTLS
    near     connections from which on a client network gets no more than its share
    strained the machine is behind: who has more than most gets no more for now
    proxies  who may use XCLIENT, or None. They are not counted as a network of clients:
             whom they speak for is, see `follow`
    """

    terms: Terms
    service: Service
    report: Report
    trace: Trace
    clock: Clock
    shared: bytearray
    small: memoryview
    guests: set[Client]
    shortest: float
    draining: bool
    gently: bool
    highest: int
    near: int
    strained: bool
    most: int
    networks: dict[Network, int]
    late: Callable[[Client], None]
    emptied: Callable[[], None]
    tls: Tls | None
    def __init__(
        self,
        terms: Terms,
        service: Service,
        report: Report,
        clock: Clock,
        shared: bytearray,
        most: int,
    ) -> None: ...
    def heed(self, strangers: Strangers, porch: Porch | None) -> None:
        """Have clients asked what `serve.strangers` asks; `porch` is where they wait
        for the greeting, or None."""

    def share(self) -> int:
        """Connections of a client network that has its part of them and no more."""

    def greedy(self, guest: Client) -> bool:
        """Whether its network has more than its share."""

    def follow(self, guest: Client, address: str) -> Refused | None:
        """A proxy says that `guest` is at this address; a `Refused` when one from there
        would not be let in."""

class Client(Connection):
    """One client: moves octets between the transport and its session.

    proxy     it may say with XCLIENT for whom it speaks
    name      what a proxy knows its client as by DNS; "" when it does not say
    network   what counts as one client network; empty when it was not let in
    waiting   for the greeting, on the porch: who speaks now is sent away
    origin    the From clause of Received
    facts     what policy knows of it; None until somebody sets it
    deciding  the future of a check whose answer is awaited; None: there is none
    finished  the client will send no more
    sealed    version and cipher of TLS; "" in clear
    served    it has heard what became of a message
    card      who it is, for the trace; None: to be made anew
    message_id  of the message that is being stored
    """

    server: Crowd
    session: Session
    address: str
    network: Network
    who: Peer
    name: str
    origin: str
    facts: Any
    deciding: Future[Any] | None
    finished: bool
    sealed: str
    greeted: bool
    served: bool
    active: float
    card: bytes | None
    message_id: str
    def __init__(self, server: Crowd) -> None: ...
    def opened(self) -> None: ...
    def get_buffer(self, sizehint: int) -> bytearray | memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def eof_received(self) -> bool: ...
    def steer(self) -> None: ...
    def ended(self) -> None: ...
    def answer(self, answer: Refused | None) -> None:
        """What the session waited for has been decided."""

    def settle(self, error: Exception | None) -> None:
        """The store's word on the message: durable, or never will be."""

    def welcome(self) -> None:
        """It has waited for the greeting long enough."""

    def secured(self, version: str, cipher: str) -> None:
        """The TLS handshake is done."""

    def refused(self, stage: str, refused: Refused) -> None:
        """It was answered 4xx or 5xx; for the trace."""

    def dropped(self) -> None:
        """It left a transaction in which somebody could have had mail."""

    def shut(self, refused: Refused, parting: str) -> None:
        """End the dialogue with this refusal."""
