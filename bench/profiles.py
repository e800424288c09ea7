"""What a load is like: sessions, sizes, recipients, the way of speaking."""

from dataclasses import dataclass, replace
from math import exp
from statistics import NormalDist
from typing import Final

from fastsmtp_bench.workloads import WORKLOADS

KIB: Final = 1024
Sizes = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A load, but for how fast it comes.

    sizes      (octets of payload, weight)
    folder     of real messages, in place of sizes
    mailboxes  that the recipients are spread over; 0: one
    tls, auth  STARTTLS, and AUTH PLAIN behind it
    """

    name: str
    what: str
    sessions: int
    sizes: Sizes = ((4 * KIB, 1.0),)
    folder: str = ""
    recipients: int = 1
    mailboxes: int = 0
    persistent: bool = True
    pipeline: bool = False
    bdat: bool = False
    lmtp: bool = False
    tls: bool = False
    auth: bool = False

    def arguments(self) -> list[str]:
        """In the words of load.c; not the sessions, which processes share."""
        sizes = ",".join(f"{size}:{weight:g}" for size, weight in self.sizes)
        words = ["--folder", self.folder] if self.folder else ["--size", sizes]
        words += ["--recipients", str(self.recipients)]
        words += ["--mailboxes", str(self.mailboxes)] if self.mailboxes else []
        switches = {
            "--per-connection": not self.persistent,
            "--pipeline": self.pipeline,
            "--bdat": self.bdat,
            "--lmtp": self.lmtp,
            "--starttls": self.tls,
        }
        return words + [name for name, on in switches.items() if on]


def spread(median: int, sigma: float, parts: int = 24) -> Sizes:
    """A log-normal distribution of sizes as so many equally likely ones."""
    normal = NormalDist()
    points = (normal.inv_cdf((n + 0.5) / parts) for n in range(parts))
    return tuple((max(200, int(median * exp(sigma * z))), 1.0) for z in points)


OF_MAIL: Final = spread(6 * KIB, 1.4)
"""Most messages are small, a few are hundreds of kilobytes; the mean is 15 KiB."""


def _workloads() -> dict[str, Profile]:
    return {
        w.name: Profile(
            name=w.name,
            what="of the table in docs/performance.md",
            sessions=w.sessions,
            sizes=((w.size, 1.0),),
            recipients=w.recipients,
            persistent=w.persistent,
        )
        for w in WORKLOADS.values()
    }


_MX = Profile(
    name="mx",
    what="100 sessions, pipelined, sizes as of real mail, 100 mailboxes",
    sessions=100,
    sizes=OF_MAIL,
    mailboxes=100,
    pipeline=True,
)
PROFILES: Final[dict[str, Profile]] = {
    p.name: p
    for p in (
        _MX,
        replace(
            _MX, name="mx-brief", what="mx, a connection per message", persistent=False
        ),
        replace(_MX, name="mx-bdat", what="mx, BDAT instead of DATA", bdat=True),
        Profile(
            name="submission",
            what="50 users who log in over STARTTLS, a connection per message",
            sessions=50,
            sizes=OF_MAIL,
            mailboxes=100,
            persistent=False,
            tls=True,
            auth=True,
        ),
        Profile(
            name="submission-kept",
            what="the same, on connections that stay",
            sessions=50,
            sizes=OF_MAIL,
            mailboxes=100,
            tls=True,
            auth=True,
        ),
        Profile(
            name="lmtp",
            what="20 sessions of LMTP, 5 recipients each",
            sessions=20,
            sizes=OF_MAIL,
            recipients=5,
            mailboxes=100,
            lmtp=True,
        ),
    )
} | _workloads()
