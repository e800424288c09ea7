"""The door of a listener: decides with the policy, hands mail to the store."""

from collections.abc import Callable
from typing import final

from fastsmtp.errors import Refused
from fastsmtp.net.clock import Clock
from fastsmtp.policy.recipients import Verdict
from fastsmtp.report import Report
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.guest import Client
from fastsmtp.serve.login import Logins
from fastsmtp.serve.submission import Submission
from fastsmtp.smtp.door import Answer, Challenge, Stream
from fastsmtp.smtp.session import Body, Session
from fastsmtp.store.base import Store
from fastsmtp.trace.ring import Trace

def nothing() -> None:
    """When a check refuses: there is nothing to give back."""

@final
class Reception:
    """`smtp.door.Doorkeeper` over a store and a policy; one for all sessions of a
    listener.

    resolve   `policy.recipients.Recipients.resolve`; may be replaced at a reload
    checks    what else decides, see `serve.checks`
    logins    where AUTH is offered
    submission  for sessions that have logged in; None: they are like any other
    strained  the machine is behind: `greedy` clients get no new transaction
    longest_hold  milliseconds for which mail may be held (RFC 4865)
    cells     of `smtp.counts`
    trace     told what becomes of mail here
    """

    resolve: Callable[[str], Verdict]
    checks: Checks
    logins: Logins | None
    submission: Submission | None
    strained: bool
    greedy: Callable[[Client], bool]
    longest_hold: int
    trace: Trace
    def __init__(
        self,
        hostname: str,
        store: Store,
        resolve: Callable[[str], Verdict],
        report: Report,
        clock: Clock,
        cells: memoryview[int],
    ) -> None: ...
    def hello(self, session: Session) -> Answer: ...
    def auth(
        self, session: Session, mechanism: str, response: bytes | None
    ) -> Challenge: ...
    def auth_cancelled(self, session: Session) -> None: ...
    def xclient(self, session: Session, told: dict[str, str]) -> Answer:
        """The client is whom the proxy says; checks see it as if it had come now."""

    def mail(self, session: Session) -> Answer: ...
    def recipient(self, session: Session, address: str) -> Answer: ...
    def data(self, session: Session) -> Answer: ...
    def stream(self, session: Session) -> Stream: ...
    def message(self, session: Session, body: Body) -> Answer: ...
    def refused(self, session: Session, stage: str, refused: Refused) -> None: ...
    def aborted(self, session: Session) -> None: ...
