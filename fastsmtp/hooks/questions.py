"""Asking a hook: one question, its deadline, its answer, and what it costs.

Laws
- A question is answered once, within the deadline of its hook, whatever the hook does:
  a hook that is late, raises, answers nonsense or has too many questions already gives
  what `on_failure` says. The answer does not wait until a late hook has ended.
- `at_most` bounds the questions that run, those included that were given up and have
  not ended; with it the memory that messages hold while they are looked at.
- A function that is not async runs in a thread of the hook's own and may block there.
  An async one runs on the event loop: each of its steps is timed, and one that takes
  more than BLOCKED is told with the name of the hook.
- A lost connection cancels the question; one whose client has sent its last octet is
  not lost, for who pipes a dialogue into a socket still reads the answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from time import monotonic
from types import TracebackType
from typing import Any, Final

from fastsmtp.errors import Refused, StoreUnavailable
from fastsmtp.hooks.body import Body
from fastsmtp.hooks.counts import ANSWERS, DURATION_SEEN, RESULTS, TIMEOUTS
from fastsmtp.hooks.facts import facts
from fastsmtp.hooks.options import HookOptions
from fastsmtp.hooks.threads import Threads
from fastsmtp.hooks.verdicts import Accept, Defer, Reject
from fastsmtp.report import Report
from fastsmtp.serve.checks import Added
from fastsmtp.serve.checks import Verdict as Answer
from fastsmtp.smtp.session import Body as InMemory
from fastsmtp.smtp.session import Session
from fastsmtp.store.base import Spool

BLOCKED: Final = 0.1  # seconds of one step that everybody notices
TELL_EVERY: Final = 60.0  # seconds between two lines about the same trouble of a hook

Function = Callable[..., Any]
Asked = asyncio.Future[Answer] | Answer
About = tuple[str, int]
"""The stage at which is asked, and the id of the message; 0: of none."""


class Nonsense(Exception):
    """A hook answered what is no verdict."""


class Hook:
    """One hook of one process: asks its functions, counts, tells of trouble.

    running  questions that have not ended
    """

    def __init__(
        self,
        name: str,
        options: HookOptions,
        functions: dict[str, Function],
        cells: memoryview[int],
        report: Report,
    ) -> None:
        self.name = name
        self.options = options
        self.functions = functions
        self.running = 0
        self._cells = cells
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._open: dict[Question, float] = {}  # when each is late, the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._threads = Threads(f"hook {name}", options.threads)
        self._told: dict[str, tuple[float, int]] = {}
        self._places = {result: ANSWERS.place(result) for result in RESULTS}

    # the checks of `serve.checks`

    def check(self, stage: str) -> Callable[..., Asked]:
        """The function of a stage as a check."""
        function = self.functions[stage]
        if stage == "message":
            return lambda session, body: self._message(function, session, body)
        if stage == "rcpt":
            return lambda session, address: self._ask(
                (stage, session.id), function, (facts(session), address)
            )
        if stage == "connect":
            return lambda guest: self._ask(
                (stage, 0), function, (facts(guest.session),)
            )
        return lambda session: self._ask(
            (stage, session.id), function, (facts(session),)
        )

    def _message(
        self, function: Function, session: Session, body: InMemory | Spool
    ) -> Asked:
        known, about = facts(session), ("message", session.id)
        if isinstance(body, InMemory):
            return self._ask(about, function, (known, Body(memoryview(body))))
        skip = len(session.head)
        return self._begin(
            about,
            lambda: self._loop.create_task(self._read(function, known, body, skip)),
        )

    async def _read(
        self, function: Function, known: Any, spool: Spool, skip: int
    ) -> Any:
        """Ask about a message that is in a file."""
        body = Body(None, await spool.reread(), skip)
        if iscoroutinefunction(function):
            return await self._loop.create_task(Watched(self, function(known, body)))
        return await self._threads.run(function, (known, body))

    def _ask(self, about: About, function: Function, told: tuple[Any, ...]) -> Asked:
        if iscoroutinefunction(function):
            return self._begin(
                about, lambda: self._loop.create_task(Watched(self, function(*told)))
            )
        return self._begin(about, lambda: self._threads.run(function, told))

    def _begin(self, about: About, start: Callable[[], asyncio.Future[Any]]) -> Asked:
        if self.running >= self.options.at_most:
            self._count("busy", 0.0, about)
            self.tell("busy", TimeoutError(f"{self.running} questions are open"))
            return self._failed(about[0], "busy")
        question = Question(self, about, start())
        self._open[question] = self._loop.time() + self.options.deadline
        if self._timer is None:
            self._timer = self._loop.call_later(self.options.deadline, self._look)
        return question.answer

    def _look(self) -> None:
        """One timer for all: who began first is late first, as all may take equally
        long."""
        self._timer = None
        for question, due in list(self._open.items()):
            if due > self._loop.time():
                self._timer = self._loop.call_at(due, self._look)
                return
            del self._open[question]
            question.late()

    def settled(self, question: Question) -> None:
        """Its work has ended."""
        self.running -= 1
        self._open.pop(question, None)

    # what comes of it

    def ended(self, about: About, work: asyncio.Future[Any], seconds: float) -> Answer:
        """The answer of what has ended. Raises `StoreUnavailable`."""
        stage = about[0]
        try:
            answer = self._understood(stage, work)
        except StoreUnavailable:
            raise
        except asyncio.CancelledError:
            error: Exception = Nonsense(f"{stage} cancelled itself")
        except Exception as raised:
            error = raised
        else:
            self._count(kind(answer), seconds, about)
            return answer
        self._count("error", seconds, about)
        self.tell("error", error)
        return self._failed(stage, f"{type(error).__name__}: {error}")

    def late(self, about: About, seconds: float) -> Answer:
        stage = about[0]
        self._count("timeout", seconds, about)
        self._cells[TIMEOUTS.place("deadline")] += 1
        text = f"{stage} gave no answer within {self.options.deadline:g} s"
        self.tell("timeout", TimeoutError(text))
        return self._failed(stage, text)

    def blocked(self, seconds: float, place: str) -> None:
        """A step of an async function held up everybody."""
        self._cells[TIMEOUTS.place("blocked")] += 1
        text = f"it held up the event loop for {seconds * 1000:.0f} ms before {place}"
        self.tell("blocked", TimeoutError(text))

    def _understood(self, stage: str, work: asyncio.Future[Any]) -> Answer:
        verdict = work.result()
        if verdict is None:
            return None
        if isinstance(verdict, Accept):
            if verdict.headers and stage != "message":
                raise Nonsense(f"{stage} cannot add headers; message can")
            return Added(verdict.lines()) if verdict.headers else None
        if not isinstance(verdict, Reject | Defer):
            raise Nonsense(f"{stage} answered {type(verdict).__name__}, not a verdict")
        code = verdict.code
        if stage == "connect" and isinstance(verdict, Defer):
            code = 421  # RFC 5321 3.1: what may stand for a greeting
        text, cause = verdict.text, f"hook {self.name}"
        return Refused(code, verdict.enhanced, text, "policy_hook", cause)

    def _failed(self, stage: str, why: str) -> Answer:
        cause = f"hook {self.name}: {why}"
        if self.options.on_failure == "accept":
            return None
        if self.options.on_failure == "reject":
            text = "Cannot be checked"
            return Refused(554, "5.7.1", text, "policy_hook", cause)
        code = 421 if stage == "connect" else 451
        text = "Cannot be checked now, try again later"
        return Refused(code, "4.3.0", text, "policy_hook", cause)

    def _count(self, result: str, seconds: float, about: About) -> None:
        self._cells[self._places[result]] += 1
        DURATION_SEEN.observe(self._cells, seconds, about[1], monotonic())

    def tell(self, what: str, error: Exception) -> None:
        """Once a minute for each kind of trouble; metrics count all."""
        now = monotonic()
        last, left_out = self._told.get(what, (now - 2 * TELL_EVERY, 0))
        if now - last < TELL_EVERY:
            self._told[what] = (last, left_out + 1)
            return
        self._told[what] = (now, 0)
        more = f" ({left_out} more since)" if left_out else ""
        self._report.fault(f"hook {self.name}{more}", error)

    def close(self) -> None:
        self._threads.close()


class Question:
    """answer  what the session waits for; cancelled when its client is gone"""

    __slots__ = ("_about", "_began", "_hook", "_work", "answer")

    def __init__(self, hook: Hook, about: About, work: asyncio.Future[Any]) -> None:
        loop = work.get_loop()
        self._hook, self._about, self._work = hook, about, work
        self._began = monotonic()
        self.answer: asyncio.Future[Answer] = loop.create_future()
        hook.running += 1
        work.add_done_callback(self._ended)
        self.answer.add_done_callback(self._left)

    def late(self) -> None:
        if not self.answer.done():
            seconds = monotonic() - self._began
            self.answer.set_result(self._hook.late(self._about, seconds))
        self._work.cancel()

    def _left(self, answer: asyncio.Future[Answer]) -> None:
        if answer.cancelled():
            self._work.cancel()

    def _ended(self, work: asyncio.Future[Any]) -> None:
        self._hook.settled(self)
        if self.answer.done():
            if not work.cancelled():
                work.exception()  # nobody wants it any more
            return
        seconds = monotonic() - self._began
        try:
            self.answer.set_result(self._hook.ended(self._about, work, seconds))
        except StoreUnavailable as error:
            self.answer.set_exception(error)


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are timed."""

    __slots__ = ("_coroutine", "_hook")

    def __init__(self, hook: Hook, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._hook, self._coroutine = hook, coroutine

    def send(self, value: Any) -> Any:
        began = monotonic()
        try:
            return self._coroutine.send(value)
        finally:
            seconds = monotonic() - began
            if seconds > BLOCKED:
                self._hook.blocked(seconds, place(self._coroutine))

    def throw(
        self, kind: Any, value: Any = None, trace: TracebackType | None = None
    ) -> Any:
        return self._coroutine.throw(kind if value is None else value)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()


def place(coroutine: Any) -> str:
    """The line at which it waits now, or its name when it has ended."""
    frame, code = coroutine.cr_frame, coroutine.cr_code
    line = code.co_firstlineno if frame is None else frame.f_lineno
    return f"{code.co_filename}:{line}" if frame else f"the end of {code.co_name}"


def kind(answer: Answer) -> str:
    if isinstance(answer, Refused):
        return "defer" if answer.code < 500 else "reject"
    return "accept"
