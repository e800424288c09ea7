"""The text that Prometheus reads, made when it asks: exposition format 0.0.4, or
OpenMetrics 1.0, in which latencies carry the queue id of a message (exemplars).

Counters of all processes are added up from their pages; what is not counted is read
from /proc, the file systems and the queue. Lines are prepared once: a scrape formats
numbers only.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import fastsmtp
from fastsmtp.blocks import PULSE, STORE
from fastsmtp.cells import Histogram
from fastsmtp.live import LIVE
from fastsmtp.metrics import (
    ACCEPTED,
    CLIENTS,
    COUNTED,
    LARGEST,
    MICROSECONDS,
    counted,
)
from fastsmtp.pages import Page, Pages
from fastsmtp.pulse import CPU
from fastsmtp.series import Labels, Series
from fastsmtp.store.counts import Count

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Depth(Protocol):
    """One state of the queue; `oldest` in seconds of the wall clock, 0 for none."""

    messages: int
    octets: int
    oldest: int
    ages: dict[str, int]


NONE: Final[Mapping[int, str]] = {}
Samples = dict[str, float]
"""Values of a family by rendered labels."""


def rendered(labels: Labels) -> str:
    """`{name="value",…}`, nothing for no labels."""
    if not labels:
        return ""
    escape = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    pairs = (f'{name}="{value.translate(escape)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 9))


class Plain:
    """A line of one cell, or of several that are added up."""

    __slots__ = ("_places", "_prefix", "_scale")

    def __init__(self, prefix: str, places: list[int], scale: float) -> None:
        self._prefix, self._places, self._scale = prefix, places, scale

    def lines(self, cells: list[int]) -> Iterator[str]:
        value = sum(cells[place] for place in self._places)
        yield self._prefix + (
            str(value) if self._scale == 1.0 else number(value * self._scale)
        )


class Heading(NamedTuple):
    """Of a family. OpenMetrics names a counter without _total; where another family
    has that name it must be of no known type."""

    name: str
    kind: str
    doc: str

    def text(self) -> str:
        return f"# HELP {self.name} {self.doc}\n# TYPE {self.name} {self.kind}"

    def open_text(self) -> str:
        name, kind = self.name, self.kind
        if kind == "counter":
            short = name.removesuffix("_total")
            name, kind = (name, "unknown") if short in TAKEN else (short, kind)
        return f"# HELP {name} {self.doc}\n# TYPE {name} {kind}"


TAKEN: Final = {family.name for family in COUNTED} | set(LIVE)


class Buckets:
    """The lines of one histogram, or of several that are added up.

    seen  where the exemplars of each of them are"""

    __slots__ = ("_bounds", "_count", "_edges", "_places", "_scale", "_seen", "_sum")

    def __init__(
        self,
        name: str,
        labels: Labels,
        places: list[int],
        histogram: Histogram,
        seen: list[int],
    ) -> None:
        # Floats in their one true form, as OpenMetrics wants them.
        bounds = [*(repr(float(e)) for e in histogram.edges), "+Inf"]
        self._bounds = [
            f"{name}_bucket{rendered(labels | {'le': bound})} " for bound in bounds
        ]
        self._sum = f"{name}_sum{rendered(labels)} "
        self._count = f"{name}_count{rendered(labels)} "
        self._places, self._scale = places, histogram.scale
        self._edges, self._seen = histogram.edges, seen

    def exemplars(
        self,
        cells: list[int],
        pages: list[list[int]],
        shift: float,
        spell: Callable[[int], str],
    ) -> dict[int, str]:
        """The newest of each bucket that has anything in `cells`. `shift` is from the
        monotonic to the wall clock, in seconds."""
        found: dict[int, str] = {}
        size = 3 * len(self._bounds)
        there = [
            one
            for page in pages
            for place in self._seen
            if any(one := page[place : place + size])
        ]
        for n in range(len(self._bounds) if there else 0):
            if not any(cells[place + n] for place in self._places):
                continue
            newest = max(there, key=itemgetter(3 * n + 2))
            id, value, at = newest[3 * n : 3 * n + 3]
            seconds = value * self._scale
            if id and bisect_left(self._edges, seconds) == n:
                label = f'{{queue_id="{spell(id)}"}}'
                found[n] = f" # {label} {number(seconds)} {at / 1e6 + shift:.3f}"
        return found

    def lines(
        self, cells: list[int], exemplars: Mapping[int, str] = NONE
    ) -> Iterator[str]:
        count, n = 0, 0
        for n, prefix in enumerate(self._bounds):
            count += sum(cells[place + n] for place in self._places)
            yield f"{prefix}{count}{exemplars.get(n, '')}"
        total = sum(cells[place + n + 1] for place in self._places)
        yield self._sum + number(total * self._scale)
        yield f"{self._count}{count}"


def prepare(names: Sequence[str]) -> list[Heading | Plain | Buckets]:
    """Everything that stands in front of a number, in the order of the text.

    names  of hooks by slot, see `metrics.checking`"""
    parts: list[Heading | Plain | Buckets] = []
    for family in counted(names):
        if not family.series:
            continue
        parts.append(Heading(family.name, family.kind, family.doc))
        alike: dict[str, list[Series]] = {}
        for series in family.series:
            alike.setdefault(rendered(series.labels), []).append(series)
        for text, added in alike.items():
            labels, _, scale, histogram, _ = added[0]
            places = [series.place for series in added]
            if histogram is None:
                parts.append(Plain(f"{family.name}{text} ", places, scale))
            else:
                seen = [series.seen for series in added if series.seen >= 0]
                parts.append(Buckets(family.name, labels, places, histogram, seen))
    return parts


class Scrape:
    """Answers `/metrics`.

    pages  of all processes of this server
    paths  directories whose disks are watched, by `path_role`
    depth  the states of the queue now, or None while they cannot be read
    fullest  destinations of the queue where most waits, and "other": messages
    expiries  when each certificate ends, by its name; replaced at a reload
    """

    def __init__(
        self,
        pages: Pages,
        paths: Mapping[str, Path],
        depth: Callable[[], Mapping[str, Depth] | None] = dict,
        expiries: Callable[[], Mapping[str, float]] = dict,
        fullest: Callable[[], Iterable[tuple[str, int]]] = tuple,
    ) -> None:
        self._pages = pages
        self._paths = paths
        self._depth = depth
        self.expiries = expiries
        self._fullest = fullest
        self._names = pages.names()
        self._parts = prepare(self._names)
        self._build = build_info()
        self.spell: Callable[[int], str] = str  # a queue id
        self.started = time.time()
        self.reloaded(True)

    def reloaded(self, good: bool) -> None:
        """The configuration was read again; a bad one leaves the last in use."""
        self.good = good
        if good:
            self.reloaded_at = time.time()

    def open_text(self) -> str:
        """In OpenMetrics."""
        pages = [self._pages.read(page.slot) for page in self._pages.live()]
        shift = time.time() - time.monotonic()

        def seen(buckets: Buckets, cells: list[int]) -> Mapping[int, str]:
            return buckets.exemplars(cells, pages, shift, self.spell)

        return "\n".join((*self._lines(True, seen), "# EOF\n"))

    def text(self) -> str:
        """In the older format, which has no exemplars."""
        return "\n".join(self._lines(False, lambda *_: NONE)) + "\n"

    def _lines(
        self, openly: bool, exemplars: Callable[[Buckets, list[int]], Mapping[int, str]]
    ) -> list[str]:
        if (names := self._pages.names()) != self._names:
            self._names, self._parts = names, prepare(names)
        cells = self._pages.sums(LARGEST)
        lines: list[str] = [self._build]
        for part in self._parts:
            if isinstance(part, Heading):
                lines.append(part.open_text() if openly else part.text())
            elif isinstance(part, Buckets):
                lines.extend(part.lines(cells, exemplars(part, cells)))
            else:
                lines.extend(part.lines(cells))
        for name, samples in self._live(cells).items():
            live = LIVE[name]
            heading = Heading(name, live.kind, live.doc)
            lines.append(heading.open_text() if openly else heading.text())
            for labels in [rendered(known) for known in live.labels] or samples:
                lines.append(f"{name}{labels} {number(samples.get(labels, 0))}")
        return lines

    def _live(self, cells: list[int]) -> dict[str, Samples]:
        return {
            **processes(list(self._pages.live())),
            **workers(self._pages),
            "fastsmtp_start_time_seconds": {"": self.started},
            "fastsmtp_config_last_reload_successful": {"": self.good},
            "fastsmtp_config_last_reload_success_timestamp_seconds": {
                "": self.reloaded_at
            },
            **queue(
                self._depth() or {},
                cells[STORE.first + Count.UNAPPLIED_MESSAGES],
                cells[STORE.first + Count.UNAPPLIED_OCTETS],
            ),
            "fastsmtp_queue_destination_messages": {
                rendered({"destination": name}): messages
                for name, messages in self._fullest()
            },
            **disks(self._paths),
            "fastsmtp_tls_certificate_not_after_timestamp_seconds": {
                rendered({"name": name}): end for name, end in self.expiries().items()
            },
        }


def build_info() -> str:
    """What runs: the family `fastsmtp_build_info`, whose value is always 1."""
    compiler = (m[8:] for m in sys.modules if m.startswith("_cython_"))
    labels = {
        "version": fastsmtp.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "cython": next(compiler, "").replace("_", "."),
        "uvloop": getattr(sys.modules.get("uvloop"), "__version__", ""),
        "commit": commit(Path(fastsmtp.__file__).parent.parent),
    }
    name = "fastsmtp_build_info"
    return f"{Heading(name, 'gauge', 'What runs.').text()}\n{name}{rendered(labels)} 1"


def commit(root: Path) -> str:
    """The commit checked out at `root`, "" when it is not a checkout."""
    try:
        head = (root / ".git/HEAD").read_text().strip()
        if head.startswith("ref: "):
            head = (root / ".git" / head[5:]).read_text().strip()
    except OSError:
        return ""
    return head[:12]


def processes(live: list[Page]) -> dict[str, Samples]:
    """Memory, descriptors and states of the processes that live."""
    rss: Samples = {}
    anonymous: Samples = {}
    fds: Samples = {}
    limits: Samples = {}
    running: Samples = {}
    states: Samples = {}
    for page in live:
        role, state = rendered({"role": page.role}), rendered({"state": page.state})
        resident, private = memory(page.pid)
        rss[role] = rss.get(role, 0) + resident
        anonymous[role] = anonymous.get(role, 0) + private
        fds[role] = fds.get(role, 0) + descriptors(page.pid)
        limits[role] = limits.get(role, 0) + descriptor_limit(page.pid)
        running[role] = running.get(role, 0) + 1
        states[state] = states.get(state, 0) + 1
    return {
        "process_resident_memory_bytes": rss,
        "fastsmtp_process_anonymous_memory_bytes": anonymous,
        "process_open_fds": fds,
        "process_max_fds": limits,
        "fastsmtp_workers": running,
        "fastsmtp_worker_state": states,
    }


def workers(pages: Pages) -> dict[str, Samples]:
    """Each process by itself (its `worker` is its slot, which its successor has after
    it), and whether those for incoming mail take it."""
    cpu: Samples = {}
    rss: Samples = {}
    clients: Samples = {}
    accepted: Samples = {}
    admission: Samples = {}
    for page in pages.live():
        cells = pages.read(page.slot)
        label = rendered({"role": page.role, "worker": str(page.slot)})
        cpu[label] = cells[PULSE.first + CPU.place(page.role)] * MICROSECONDS
        rss[label] = memory(page.pid)[0]
        if page.role not in ("all", "receive", "read"):
            continue
        clients[label] = sum(cells[place] for place in CLIENTS)
        accepted[label] = sum(cells[place] for place in ACCEPTED)
        if page.role != "read" and page.state != "starting":
            level = "deferring" if page.excuse else "open"
            level = rendered(
                {"level": level if page.state == "serving" else page.state}
            )
            admission[level] = admission.get(level, 0) + 1
    return {
        "fastsmtp_process_cpu_seconds_total": cpu,
        "fastsmtp_process_resident_memory_bytes": rss,
        "fastsmtp_process_connections": clients,
        "fastsmtp_process_messages_total": accepted,
        "fastsmtp_admission_state": admission,
    }


def memory(pid: int) -> tuple[int, int]:
    """(RSS, RSS without mapped files) in octets; 0 for a process that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    kib = [int(fields.get(f, "0").split()[0]) for f in ("VmRSS", "RssAnon")]
    return kib[0] * 1024, kib[1] * 1024


def descriptors(pid: int) -> int:
    """Open descriptors. Linux 6.2 and later tell without listing them."""
    try:
        folder = f"/proc/{pid}/fd"
        return os.stat(folder).st_size or len(os.listdir(folder))
    except OSError:
        return 0


def descriptor_limit(pid: int) -> int:
    try:
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    except OSError:
        return 0


def queue(
    depths: Mapping[str, Depth], messages: int, octets: int
) -> dict[str, Samples]:
    """The queue's families. `messages` and `octets` are incoming: durable, but not
    yet in the index."""
    count: Samples = {rendered({"state": "incoming"}): messages}
    size: Samples = {rendered({"state": "incoming"}): octets}
    ages: Samples = {}
    oldest: Samples = {}
    for state, depth in depths.items():
        label = rendered({"state": state})
        count[label], size[label] = depth.messages, depth.octets
        oldest[label] = depth.oldest
        for age, aged in depth.ages.items():
            ages[rendered({"state": state, "age": age})] = aged
    return {
        "fastsmtp_queue_messages": count,
        "fastsmtp_queue_bytes": size,
        "fastsmtp_queue_messages_by_age": ages,
        "fastsmtp_queue_oldest_message_timestamp_seconds": oldest,
    }


def disks(paths: Mapping[str, Path]) -> dict[str, Samples]:
    free: Samples = {}
    inodes: Samples = {}
    for role, path in paths.items():
        label = rendered({"path_role": role})
        try:
            found = os.statvfs(path)
        except OSError:
            continue
        free[label] = found.f_bavail * found.f_frsize
        inodes[label] = found.f_favail
    return {"fastsmtp_disk_free_bytes": free, "fastsmtp_disk_free_inodes": inodes}
