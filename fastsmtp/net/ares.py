"""c-ares through aiodns: questions go out on a thread of its own.

c-ares keeps answers by itself, for their time to live and without a bound on their
number. So it is thrown away and made anew after `LIFE` questions: what lasts longer is
in `net.dns`, whose memory has a bound.
"""

from __future__ import annotations

from typing import Any, Final

import aiodns
from aiodns import error

from fastsmtp.errors import DnsTrouble, NoData, NoSuchName
from fastsmtp.net.options import DnsOptions

LIFE: Final = 10_000  # questions; each may leave about 1 KiB behind
TRIES: Final = 2  # rounds over all servers
NONE: Final = (error.ARES_ENODATA,)
UNKNOWN: Final = (error.ARES_ENOTFOUND, error.ARES_EBADNAME, error.ARES_ENONAME)
CODES: Final = {"A": 1, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}


class Life:
    """One c-ares, from its first question to the answer of its last."""

    def __init__(self, options: DnsOptions) -> None:
        # so that all attempts fit: with the last answer comes the real cause
        each = options.timeout / (TRIES + 1)
        self.resolver = aiodns.DNSResolver(options.servers, timeout=each, tries=TRIES)
        self.asked = self.waiting = 0


class Ares:
    """`net.dns.Channel`."""

    def __init__(self, options: DnsOptions) -> None:
        self._options = options
        self._life = Life(options)

    async def query(self, kind: str, name: str) -> tuple[tuple[Any, ...], float]:
        life = self._life
        if life.asked >= LIFE:
            life = self._life = Life(self._options)
        life.asked += 1
        life.waiting += 1
        try:
            answer = await life.resolver.query_dns(name, kind)
        except error.DNSError as problem:
            raise _meant(problem, name) from None
        except UnicodeError as problem:
            raise NoSuchName(str(problem)) from None
        finally:
            life.waiting -= 1
            if life is not self._life and not life.waiting:
                await life.resolver.close()
        records = [r for r in answer.answer if r.type == CODES[kind]]
        if not records:
            raise NoData(f"{name} has no {kind}")
        # with the names it leads over (CNAME), each of which may change sooner
        return _values(kind, records), float(min(r.ttl for r in answer.answer))

    async def close(self) -> None:
        await self._life.resolver.close()


def _meant(problem: error.DNSError, name: str) -> Exception:
    code, *words = problem.args
    if code in UNKNOWN:
        return NoSuchName(f"{name} does not exist")
    if code in NONE:
        return NoData(f"{name} has no such record")
    return DnsTrouble(str(words[0]) if words else f"c-ares error {code}")


def _values(kind: str, records: list[Any]) -> tuple[Any, ...]:
    if kind in ("A", "AAAA"):
        return tuple(r.data.addr for r in records)
    if kind == "MX":
        found = [(r.data.priority, _plain(r.data.exchange)) for r in records]
        return tuple(sorted(found))
    if kind == "PTR":
        return tuple(_plain(r.data.dname) for r in records)
    return tuple(r.data.data for r in records)


def _plain(name: str | bytes) -> str:
    """ "" is the root: the null MX (RFC 7505). Whatever stands in the DNS may come, so
    it is no host name yet."""
    text = name if isinstance(name, str) else name.decode("latin-1")
    return text.lower().rstrip(".")
