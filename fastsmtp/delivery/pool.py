"""The connections to one set of hosts, and the messages that wait for them.

How many bodies are with other servers whose outcome is not durable yet is at most the
number of connections. So if everything here dies, that many messages may arrive twice.
A connection that is busy gets the envelope of one more meanwhile: its body is held
until another's outcome is durable, and then goes out at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from fastsmtp.auth.login import Login
from fastsmtp.delivery.conversation import (
    CannotConnect,
    Conversation,
    Switchboard,
    Terms,
)
from fastsmtp.delivery.jobs import Job, Key
from fastsmtp.net.dial import Place
from fastsmtp.net.exchangers import Host
from fastsmtp.policy.options import DestinationOptions
from fastsmtp.policy.relaying import NextHop
from fastsmtp.smtp.letter import Answer, Letter
from fastsmtp.store.base import Blob

BAD: Final = 60.0  # seconds a host that could not be used is tried behind others
IDLE: Final = 2.0  # seconds a connection without work is kept
EACH: Final = 8
"""Messages for each connection: to open one costs as much as some of them. Where none
was answered between two sweeps the server is slow, and each gets a connection."""

FIRST: Final = 5  # connections before the first message went well
AGAIN: Final = 3  # connections that may break under a message before it is deferred


class Bodies(Protocol):
    """Where bodies are."""

    def open(self, id: int) -> Blob:
        """Raises `KeyError` when there is none (any more)."""
        ...


Fit = Callable[[Job, Conversation, Blob], "Letter | Answer"]
"""The letter for this connection, or why there can be none."""


class Work:
    """A job under way.

    tries   connections that broke under it
    held    its envelope is with the other server, its body must wait
    """

    __slots__ = ("began", "blob", "held", "job", "tries")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tries = 0
        self.held = False
        self.began = 0.0
        self.blob: Blob | None = None

    def close(self) -> None:
        if self.blob is not None:
            self.blob.close()
            self.blob = None


class Office(Protocol):
    """What the pools of a process share: `relay.Relay`.

    unrecorded  the pool of each job that is answered and not durable yet
    """

    unrecorded: "dict[Key, Pool]"

    @property
    def board(self) -> Switchboard: ...

    @property
    def bodies(self) -> Bodies: ...

    @property
    def fit(self) -> Fit: ...

    def start(self, work: Coroutine[Any, Any, None]) -> None: ...

    def give_back(self, work: Work) -> None: ...

    def finish(
        self,
        work: Work,
        answers: list[Answer],
        conversation: Conversation | None = None,
        *,
        reached: bool = True,
        host: str = "",
    ) -> None: ...

    def login(self, hop: NextHop) -> Login | None:
        """Raises `OSError` when the secret cannot be read."""
        ...


class Pool:
    """The connections to one set of hosts.

    limit       connections at a time now: grows while messages go well, shrinks when
                a connection cannot be had beside others
    unrecorded  how many jobs have an answer that is not durable yet
    connecting  connections on their way
    """

    def __init__(
        self, office: Office, hop: NextHop, limits: DestinationOptions
    ) -> None:
        self.hosts: tuple[Host, ...] = ()
        self.unrecorded = 0
        self._office = office
        self._hop = hop
        self._limits = limits
        self._limit = min(FIRST, limits.connections)
        self._waiting: deque[Work] = deque()
        self._idle: list[tuple[Conversation, float]] = []
        self._all: set[Conversation] = set()
        self._busy: set[Conversation] = set()  # with a body that may be there
        self._single: dict[Conversation, None] = {}  # of these: and nothing behind it
        self._behind: dict[Conversation, Work] = {}  # held behind such a body
        self._held: dict[Conversation, Work] = {}  # held alone
        self._ahead = True  # envelopes may be given ahead
        self._leaving = False
        self.connecting = 0
        self._bad: dict[str, float] = {}  # host -> until when (monotonic)
        self._answers = 0  # since the last sweep
        self._next = 0.0  # monotonic time of the next message a rate allows
        self._timer: asyncio.TimerHandle | None = None

    @property
    def unused(self) -> bool:
        return not (self._all or self.connecting or self._waiting or self.unrecorded)

    def add(self, work: Work) -> None:
        self._waiting.append(work)
        self.pump()

    def pump(self, each: int = EACH) -> None:
        """Hand out what can go, and connect where that helps: one connection for `each`
        that wait or are inside."""
        while self._held and self._allowed():
            self._release()
        while self._waiting and self._idle and self._allowed():
            conversation, _ = self._idle.pop()
            if self._fits(conversation):
                self._say(conversation, self._waiting.popleft())
        for _ in range(self._wanted(each) - self.connecting):
            self.connecting += 1
            self._office.start(self._connect())
        while self._single and self._gives_ahead(next(iter(self._single))):
            pass

    def _wanted(self, each: int) -> int:
        """Connections that should be on their way. Who has not answered gets one."""
        if not (self._all and self._waiting):
            return min(len(self._waiting), 1)
        work = len(self._waiting) + len(self._busy) + len(self._held)
        return min(-(-work // each), self._limit) - len(self._all)

    def _gives_ahead(self, conversation: Conversation) -> bool:
        """Give one more envelope to a connection that has a letter, where no other can
        take it now."""
        full = len(self._all) + self.connecting >= self._limit
        if not (self._waiting and self._ahead and full and not self._idle):
            return False
        if not self._has_room(conversation):
            self._single.pop(conversation, None)
            return True
        work = self._waiting.popleft()
        work.held = True
        self._say(conversation, work)
        return True

    def _release(self) -> None:
        """The body that has waited longest may go, and the next envelope with it."""
        conversation = next(iter(self._held))
        work = self._held.pop(conversation)
        work.held = False
        work.began = time.monotonic()
        self._busy.add(conversation)
        self._single[conversation] = None
        self._gives_ahead(conversation)
        conversation.release()

    def _fits(self, conversation: Conversation) -> bool:
        """Whether the connection carries another message; if not, it is closed."""
        if self._has_room(conversation):
            return True
        self._part(conversation)
        return False

    def _has_room(self, conversation: Conversation) -> bool:
        most = min(self._limits.reuse, conversation.offers.letters_most or 1 << 30)
        return conversation.letters < most and conversation.room

    def _allowed(self) -> bool:
        """Whether what is not durable, and the rate, let another message go."""
        if self.unrecorded + len(self._busy) >= max(len(self._all), 1):
            return False
        if not self._limits.rate:
            return True
        now = time.monotonic()
        if now < self._next:
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._next - now, self._again)
            return False
        self._next = max(self._next, now - 1.0) + 60.0 / self._limits.rate
        return True

    def _again(self) -> None:
        self._timer = None
        self.pump()

    # one message

    def _say(self, conversation: Conversation, work: Work) -> None:
        work.began = work.began or time.monotonic()
        try:
            body = work.blob = self._office.bodies.open(work.job.id)
            letter = self._office.fit(work.job, conversation, body)
        except KeyError:
            letter = Answer(0, "", "it left the queue meanwhile", "mail")
        except Exception as error:
            self._office.board.trouble(error)
            letter = Answer(0, "4.3.0", f"our own trouble: {error}"[:200], "mail")
        if isinstance(letter, Answer):
            if not work.held:
                self._idle.append((conversation, time.monotonic()))
            self._office.finish(work, [letter], conversation)
            return
        if work.held:
            self._single.pop(conversation)
            self._behind[conversation] = work
        else:
            self._busy.add(conversation)
            self._single[conversation] = None
        done = partial(self._answered, conversation, work)
        conversation.give(letter, done, work.held)

    def _answered(
        self, conversation: Conversation, work: Work, answers: list[Answer]
    ) -> None:
        broken = _broke(conversation, answers)
        if not work.held:
            self._leave_body(conversation)
        elif self._held.pop(conversation, None) is None:
            del self._behind[conversation]  # it could not be given at all
            self._single[conversation] = None
        else:
            self._ahead = not broken
        if broken and (work.held or work.tries < AGAIN):
            work.tries += not work.held  # who was behind another had no try
            self._again_later(work)
        else:
            self.unrecorded += 1
            self._answers += 1
            self._office.unrecorded[work.job.key] = self
            if any(answer.accepted for answer in answers):
                self._limit = min(self._limit + 1, self._limits.connections)
            self._office.finish(work, answers, conversation)
        if conversation.idle and conversation.room and not broken:
            self._idle.append((conversation, time.monotonic()))
        self.pump()

    def _again_later(self, work: Work) -> None:
        work.held = False
        work.close()
        if self._leaving:
            self._office.give_back(work)
        else:
            self._waiting.appendleft(work)

    def _leave_body(self, conversation: Conversation) -> None:
        """Its body is answered; what was behind it is alone now."""
        self._busy.discard(conversation)
        self._single.pop(conversation, None)
        behind = self._behind.pop(conversation, None)
        if behind is not None:
            self._held[conversation] = behind
            if self._leaving:
                asyncio.get_running_loop().call_soon(conversation.abort)

    # connections

    async def _connect(self) -> None:
        """One more connection, or an answer for those who wait for one."""
        failed = Answer(0, "4.4.1", "there is no host to connect to", "connect")
        host = ""
        try:
            for candidate in self._candidates():
                try:
                    conversation = await self._call(candidate)
                except CannotConnect as error:
                    failed, host = error.answer, candidate.name
                    self._bad[candidate.name] = time.monotonic() + BAD
                    continue
                self._bad.pop(candidate.name, None)
                conversation.lost = partial(self._lost, conversation)
                self._all.add(conversation)
                self._idle.append((conversation, time.monotonic()))
                return
            self._refused(failed, host)
        finally:
            self.connecting -= 1
            self.pump()

    def _candidates(self) -> list[Host]:
        """In order; those that were no good a moment ago come last."""
        now = time.monotonic()
        return sorted(self.hosts, key=lambda host: self._bad.get(host.name, 0) > now)

    async def _call(self, host: Host) -> Conversation:
        hop = self._hop
        try:
            login = self._office.login(hop)
        except (OSError, UnicodeDecodeError) as error:
            text = f"the secret of the login cannot be read: {error}"
            raise CannotConnect(Answer(0, "4.7.8", text, "auth")) from None
        terms = Terms(
            name=host.name,
            lmtp=hop.transport == "lmtp",
            tls=hop.tls,
            implicit=hop.implicit_tls,
            login=login,
        )
        places = [Place(address, hop.port) for address in host.addresses]
        return await self._office.board.connect(places, terms)

    def _refused(self, answer: Answer, host: str) -> None:
        """No host takes a connection. Beside others that are open it means: no more of
        them; else nobody who waits here can be served."""
        if self._all:
            self._limit = len(self._all)
            return
        if answer.stage in ("tls", "auth"):
            answer = _for_now(answer)
        self._limit = min(FIRST, self._limits.connections)
        works, self._waiting = self._waiting, deque()
        for work in works:
            self._office.finish(work, [answer], reached=False, host=host)

    def _lost(self, conversation: Conversation, answer: Answer) -> None:
        self._all.discard(conversation)
        self._leave_body(conversation)
        self._held.pop(conversation, None)
        self._idle = [pair for pair in self._idle if pair[0] is not conversation]
        if answer.code == 421:
            self._limit = max(1, min(self._limit, len(self._all)))
        self.pump()

    def _part(self, conversation: Conversation) -> None:
        self._all.discard(conversation)
        self._office.start(conversation.quit())

    def sweep(self, now: float) -> None:
        idle = [c for c, since in self._idle if now - since > IDLE]
        if idle:
            self._idle = [pair for pair in self._idle if now - pair[1] <= IDLE]
            for conversation in idle:
                self._part(conversation)
        slow = self._busy and not self._answers
        self._answers = 0
        self.pump(each=1 if slow else EACH)

    def forget_waiting(self) -> "deque[Work]":
        """Those that are in no connection; they are the pool's no more."""
        waiting, self._waiting = self._waiting, deque()
        return waiting

    async def leave(self) -> None:
        """Give back what waits or is held, finish what is inside."""
        self._leaving = True
        waiting, self._waiting = self._waiting, deque()
        for work in waiting:
            self._office.give_back(work)
        self._idle = []
        for conversation in tuple(self._held):
            conversation.abort()
        leaving = [conversation.quit() for conversation in self._all]
        await asyncio.gather(*leaving, return_exceptions=True)


def _for_now(answer: Answer) -> Answer:
    """What we may do there is our business, not that of the message: nothing that is
    said to it is for ever."""
    status = f"4{answer.enhanced[1:]}" if answer.enhanced else "4.7.0"
    if not answer.permanent:
        return answer._replace(enhanced=status)
    said = "" if answer.local else f" ({answer.code})"
    text = f"{answer.text}{said}".lstrip()
    return answer._replace(code=0, enhanced=status, text=text)


def _broke(conversation: Conversation, answers: list[Answer]) -> bool:
    """Whether the connection ended before the letter was looked at. A server may say
    421 to any command when it has had enough (RFC 5321 3.8): on a connection that has
    carried mail that is no answer to this letter."""
    ends = (0, 421) if conversation.letters > 1 else (0,)
    return all(a.code in ends and a.stage == "mail" for a in answers)
