"""The door of a listener: decides with the policy, hands mail to the store."""

from collections.abc import Callable
from typing import final

from fastsmtp.errors import Refused
from fastsmtp.net.clock import Clock
from fastsmtp.policy.recipients import Verdict
from fastsmtp.report import Report
from fastsmtp.serve.checks import Checks
from fastsmtp.smtp.door import Answer, Stream
from fastsmtp.smtp.session import Body, Session
from fastsmtp.store.base import Store

def nothing() -> None:
    """When a check refuses: there is nothing to give back."""

@final
class Reception:
    """`smtp.door.Door` over a store and a policy; one for all sessions of a listener.

    resolve   `policy.recipients.Recipients.resolve`; may be replaced at a reload
    checks    what else decides, see `serve.checks`
    """

    resolve: Callable[[str], Verdict]
    checks: Checks
    def __init__(
        self,
        hostname: str,
        store: Store,
        resolve: Callable[[str], Verdict],
        report: Report,
        clock: Clock,
        checks: Checks = ...,
    ) -> None: ...
    def hello(self, session: Session) -> Answer: ...
    def mail(self, session: Session) -> Answer: ...
    def recipient(self, session: Session, address: str) -> Answer: ...
    def data(self, session: Session) -> Answer: ...
    def stream(self, session: Session) -> Stream: ...
    def message(self, session: Session, body: Body) -> Answer: ...
    def refused(self, session: Session, stage: str, refused: Refused) -> None: ...
    def aborted(self, session: Session) -> None: ...
