"""What decides about mail besides the built-in rules: policy, hooks, scanners.

    connect(guest)              before the greeting
    hello(session)              after HELO or EHLO
    mail(session)               the reverse-path is known, the queue id is given
    rcpt(session, address)      the address is one of ours
    data(session)               all recipients are known
    message(session, body)      complete and acceptable; `body` is a buffer, or the
                                `store.base.Spool` of a large one. May return `Added`

A check returns None (go on), a `Refused`, or something to await that gives one of them;
while it is awaited the session takes no more input, and nobody else waits. Checks of a
stage are asked in order, and the first refusal ends it. A check that raises is our own
trouble: 451 4.3.0. No check configured costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastsmtp.errors import Refused, StoreUnavailable
from fastsmtp.serve.refusals import TROUBLE, unavailable
from fastsmtp.smtp.door import PENDING, Answer

if TYPE_CHECKING:
    from fastsmtp.serve.guest import Client


class Added(NamedTuple):
    """The message may pass, with these header fields above its own.

    headers  whole lines with CRLF
    """

    headers: bytes


Verdict = Refused | Added | None
Check = Callable[..., Verdict | Awaitable[Verdict]]


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of a listener, by stage."""

    connect: tuple[Check, ...] = ()
    hello: tuple[Check, ...] = ()
    mail: tuple[Check, ...] = ()
    rcpt: tuple[Check, ...] = ()
    data: tuple[Check, ...] = ()
    message: tuple[Check, ...] = ()

    def __add__(self, others: Checks) -> Checks:
        """These, then the others, at each stage."""
        return Checks(
            *(getattr(self, f.name) + getattr(others, f.name) for f in fields(self))
        )


NONE: Final = Checks()


@dataclass(slots=True)
class Asking:
    """One stage of one client.

    about    what each check is called with
    passed   told once when no check refused, with the fields to add: what is done then,
             and its answer
    refused  told when a check refused after it was waited for
    failed   told what a check raised
    """

    guest: Client
    about: tuple[Any, ...]
    passed: Callable[[bytes], Answer]
    refused: Callable[[], None]
    failed: Callable[[Exception], None]
    added: bytes = b""

    def ask(self, checks: Sequence[Check]) -> Answer:
        """The stage's answer, or PENDING: `guest.answer` is given it later."""
        for n, check in enumerate(checks, 1):
            try:
                verdict = check(*self.about)
            except Exception as error:
                return self._trouble(error)
            if isawaitable(verdict):
                self._wait(verdict, checks[n:])
                return PENDING
            if isinstance(verdict, Refused):
                return verdict
            if verdict is not None:
                self.added += verdict.headers
        return self.passed(self.added)

    def _wait(self, verdict: Awaitable[Verdict], rest: Sequence[Check]) -> None:
        """Go on with the rest when it is there; no task is needed for that."""
        future = asyncio.ensure_future(verdict)
        self.guest.deciding = future
        future.add_done_callback(partial(self._decided, rest))

    def _decided(self, rest: Sequence[Check], future: asyncio.Future[Verdict]) -> None:
        answer: Answer
        self.guest.deciding = None
        try:
            answer = self._go_on(rest, future.result())
        except asyncio.CancelledError:
            answer = unavailable("the connection was lost")  # said to nobody
        except StoreUnavailable as error:
            answer = unavailable(str(error))
        except Exception as error:
            answer = self._trouble(error)
        if isinstance(answer, Refused):
            self.refused()
        if answer is not PENDING:
            self.guest.answer(answer)

    def _go_on(self, rest: Sequence[Check], verdict: Verdict) -> Answer:
        if isinstance(verdict, Refused):
            return verdict
        if verdict is not None:
            self.added += verdict.headers
        return self.ask(rest)

    def _trouble(self, error: Exception) -> Refused:
        self.failed(error)
        return TROUBLE
