"""A POP3 session as RFC 1939 reads, slowly; `ext/pop3/session.pyx` must agree with it.

    model = Dialogue(sizes, uids, validity)
    said = model.hear(octets)     # what a read of these octets is answered
    model.secure()                # TLS is on, after `model.upgrade`

A message comes out as b"<n>", its top as b"<n top lines>": whoever has the octets gives
them. The texts of replies and the list of CAPA are those of the engine; what is said
when, and what of the maildrop, is found anew.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error, a2b_base64
from collections.abc import Callable, Sequence
from typing import Final

from fastsmtp.errors import Refused
from fastsmtp.pop3 import replies
from fastsmtp.pop3.offers import Offers, Standing, shown

LINE: Final = 2048
LOGIN_LINE: Final = 12290
BLANKS: Final = b" \t"
CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
NO_ARGUMENT: Final = frozenset(b"STLS UTF8 CAPA STAT RSET NOOP QUIT".split())
NEEDED: Final = frozenset(b"USER PASS AUTH RETR TOP DELE".split())
STRANGERS: Final = frozenset(b"USER PASS AUTH STLS UTF8 CAPA QUIT".split())
KNOWN: Final = frozenset(b"CAPA STAT LIST UIDL RETR TOP DELE RSET NOOP QUIT".split())
SECRET: Final = frozenset(b"USER PASS AUTH".split())

Verdict = Refused | bytes | None


class Dialogue:
    """`login(name, password)` and `auth(mechanism, response)` say None (yes), a
    `Refused`, or octets of a challenge; `update(uids)` whether they were removed."""

    login: Callable[[bytes, bytes], Verdict]
    auth: Callable[[str, bytes | None], Verdict]
    update: Callable[[list[int]], Verdict]

    def __init__(
        self,
        sizes: Sequence[int],
        uids: Sequence[int],
        validity: int,
        offers: Offers,
        *,
        private: bool,
        max_errors: int,
    ) -> None:
        self.sizes, self.uids, self.validity = sizes, uids, validity
        self.offers, self.private, self.max_errors = offers, private, max_errors
        self.secured = self.known = self.closed = self.upgrade = False
        self.name: bytes | None = None
        self.mechanism = ""
        self.exchanging = False
        self.marked: set[int] = set()
        self.errors = 0
        self.rest = b""
        self.skipping: bytes | None = None  # what is said at the end of a bad line

    # lines

    def hear(self, data: bytes) -> bytes:
        said = b""
        self.rest += data
        while not (self.closed or self.upgrade):
            more = self._next()
            if more is None:
                return said
            said += more
        self.rest = b""
        return said

    def _next(self) -> bytes | None:
        """The answer to the next line; None: it has not come yet."""
        if self.skipping is not None:
            return self._skip()
        limit = self._limit()
        end = self.rest.find(b"\n", 0, limit)
        if end < 0:
            if len(self.rest) < limit:
                return None
            self.last = self.rest[limit - 1 : limit]
            self.rest = self.rest[limit:]
            self.skipping = replies.TOO_LONG
            return b""
        line, self.rest = self.rest[: end + 1], self.rest[end + 1 :]
        if not line.endswith(b"\r\n"):
            self.last, self.skipping = b"\n", b""
            return self._ill(replies.BARE)
        return self._line(line[:-2])

    def _limit(self) -> int:
        long = self.rest[:4].upper() == b"AUTH" and self.rest[4:5] in (b" ", b"\t")
        return LOGIN_LINE if long or self.exchanging else LINE

    def _skip(self) -> bytes | None:
        """Only CRLF ends a bad line, too."""
        found = (self.last + self.rest).find(b"\r\n")
        if found < 0:
            self.last = (self.last + self.rest)[-1:]
            self.rest = b""
            return None
        self.rest = (self.last + self.rest)[found + 2 :]
        late, self.skipping = self.skipping, None
        return self._ill(late) if late else b""

    def _ill(self, reply: bytes) -> bytes:
        self.exchanging = False
        return self._no(reply)

    def _no(self, reply: bytes) -> bytes:
        self.errors += 1
        if self.errors < self.max_errors:
            return reply
        self.closed = True
        return reply + replies.ERRORS

    # commands

    def _line(self, line: bytes) -> bytes:
        if self.exchanging:
            return self._response(line)
        verb = re.split(rb"[ \t]", line, maxsplit=1)[0]
        argument = line[len(verb) + 1 :]
        verb = verb.upper()
        if verb not in STRANGERS | KNOWN:
            return self._no(replies.UNKNOWN)
        if verb != b"PASS":
            argument = argument.strip(BLANKS)
        if CONTROL.search(argument):
            return self._no(replies.BARE)
        no = self._misplaced(verb)
        if no is None and not argument and verb in NEEDED:
            no = replies.ARGUMENT
        if no is None and argument and verb in NO_ARGUMENT:
            no = replies.NO_ARGUMENT
        if no is not None:
            return self._no(no)
        return getattr(self, f"_{verb.decode().lower()}")(argument)

    def _misplaced(self, verb: bytes) -> bytes | None:
        if self.known:
            if verb not in KNOWN:
                return replies.LOGGED_IN
        elif verb == b"PASS" and self.name is None:
            return replies.USER_FIRST
        elif verb not in STRANGERS:
            return replies.LOGIN_FIRST
        if verb in SECRET and not (self.secured or self.private):
            return replies.TLS_FIRST if self.offers.stls else replies.NO_TLS
        return None

    # who it is

    def _user(self, argument: bytes) -> bytes:
        self.name = argument
        return replies.NAME_OK

    def _pass(self, argument: bytes) -> bytes:
        assert self.name is not None
        return self._entered(self.login(self.name, argument))

    def _auth(self, argument: bytes) -> bytes:
        mechanism, *initial = re.split(rb"[ \t]+", argument, maxsplit=1)
        self.mechanism = mechanism.decode("latin-1").upper()
        if self.mechanism not in self.offers.mechanisms:
            return self._no(replies.MECHANISM)
        if not initial:
            return self._entered(self.auth(self.mechanism, None))
        if initial[0] == b"=":
            return self._entered(self.auth(self.mechanism, b""))
        try:
            response = a2b_base64(initial[0], strict_mode=True)
        except Error:
            return self._no(replies.BASE64)
        return self._entered(self.auth(self.mechanism, response))

    def _response(self, line: bytes) -> bytes:
        if line == b"*":
            return self._ill(replies.CANCELLED)
        try:
            response = a2b_base64(line, strict_mode=True)
        except Error:
            return self._ill(replies.BASE64)
        return self._entered(self.auth(self.mechanism, response))

    def _entered(self, verdict: Verdict) -> bytes:
        if isinstance(verdict, bytes):
            self.exchanging = True
            return b"+ " + b64encode(verdict) + b"\r\n"
        self.exchanging = False
        self.name = None
        if verdict is None:
            self.known, self.errors = True, 0
            return replies.logged_in(len(self.sizes), sum(self.sizes))
        said = self._no(replies.refusal(verdict))
        self.closed |= verdict.code == 421
        return said

    def _stls(self, argument: bytes) -> bytes:
        if self.secured:
            return self._no(replies.SECURED)
        if not self.offers.stls:
            return self._no(replies.OFF)
        self.name, self.upgrade = None, True
        return replies.UPGRADE

    def secure(self) -> None:
        self.upgrade, self.secured = False, True

    def _utf8(self, argument: bytes) -> bytes:
        return replies.UTF8_OK

    def _capa(self, argument: bytes) -> bytes:
        return shown(self.offers, Standing(self.secured, self.private, self.known))

    # the maildrop

    def _left(self) -> list[int]:
        return [n for n in range(len(self.sizes)) if n not in self.marked]

    def _message(self, argument: bytes) -> int | bytes:
        if not re.fullmatch(rb"[0-9]*", argument):
            return self._no(replies.NUMBER)
        if not argument or len(argument) > 20:
            return self._no(replies.NO_MESSAGE)
        if not 0 < int(argument) <= len(self.sizes):
            return self._no(replies.NO_MESSAGE)
        n = int(argument) - 1
        return self._no(replies.DELETED) if n in self.marked else n

    def _stat(self, argument: bytes) -> bytes:
        left = self._left()
        return b"+OK %d %d\r\n" % (len(left), sum(self.sizes[n] for n in left))

    def _list(self, argument: bytes) -> bytes:
        return self._told(argument, lambda n: b"%d" % self.sizes[n])

    def _uidl(self, argument: bytes) -> bytes:
        return self._told(
            argument, lambda n: b"%08x%08x" % (self.validity, self.uids[n])
        )

    def _told(self, argument: bytes, what: Callable[[int], bytes]) -> bytes:
        if argument:
            n = self._message(argument)
            if isinstance(n, bytes):
                return n
            return b"+OK %d %b\r\n" % (n + 1, what(n))
        lines = [b"%d %b\r\n" % (n + 1, what(n)) for n in self._left()]
        return b"+OK %d messages\r\n%b.\r\n" % (len(lines), b"".join(lines))

    def _retr(self, argument: bytes) -> bytes:
        n = self._message(argument)
        return n if isinstance(n, bytes) else b"<%d>" % n

    def _top(self, argument: bytes) -> bytes:
        number, *lines = re.split(rb"[ \t]+", argument, maxsplit=1)
        if not lines or not re.fullmatch(rb"[0-9]{1,20}", lines[0]):
            return self._no(replies.LINES)
        n = self._message(number)
        if isinstance(n, bytes):
            return n
        return b"<%d top %d>" % (n, min(int(lines[0]), 2**64 - 1))

    def _dele(self, argument: bytes) -> bytes:
        n = self._message(argument)
        if isinstance(n, bytes):
            return n
        self.marked.add(n)
        return replies.OK

    def _rset(self, argument: bytes) -> bytes:
        self.marked.clear()
        return replies.OK

    def _noop(self, argument: bytes) -> bytes:
        return replies.OK

    def _quit(self, argument: bytes) -> bytes:
        self.closed = True
        if not self.marked:
            return replies.BYE
        no = self.update([self.uids[n] for n in sorted(self.marked)])
        if isinstance(no, Refused):
            return replies.refusal(no)
        return replies.removed(len(self.marked))
