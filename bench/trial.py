"""The phases of a run: the ceiling of the generator, a warm-up, as fast as it goes, and
then at a fixed rate, which tells the latency that users would see."""

import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from fastsmtp.net.selfsigned import make as make_certificate
from fastsmtp_bench import sink
from fastsmtp_bench.client import Unfinished, settle
from fastsmtp_bench.generator import Failed, Generator, Order, Outcome, Slice
from fastsmtp_bench.interrupt import Interrupt
from fastsmtp_bench.place import Place
from fastsmtp_bench.profiles import Profile
from fastsmtp_bench.verdict import GENERATOR, Limit, limits, sentence
from fastsmtp_bench.watching import Look, Watcher, busy, cpu

WARM_UP: Final = "warm-up"
WARM_UPS: Final = 5  # at most, until all users are let in without a pause
TRIES: Final = 3  # rates that are tried
SHARE: Final = 0.9  # of what goes at most: the first rate that is tried
LESS: Final = 0.85  # of the last one: the next
KEPT_UP: Final = 0.98  # of what was offered must be acknowledged
IN_TIME: Final = 0.95  # of the time until the last reply
FIRST_SECONDS: Final = 0.05  # until the first message is due
CUT: Final = 0.9  # of its time: a load with an error that ended before it broke off
BACKLOG_SECONDS: Final = 2.0  # of work that may be left at the end
PLAIN: Final = str.maketrans("", "", ", ")  # of a name, for an id of a message
QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
AGES: Final = "fastsmtp_queue_messages_by_age"
BATCH: Final = "fastsmtp_store_commit_batch_messages"
SYNC: Final = "fastsmtp_store_sync_duration_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, and how.

    rate     messages/s to hold; 0: find out how many go
    verify   folder for the ids of acknowledged messages; None: not verified
    """

    seconds: float = 10.0
    ceiling_seconds: float = 2.0
    warm_up_seconds: float = 1.5
    processes: int = 1
    rate: float = 0.0
    verify: Path | None = None
    tolerant: bool = False


@dataclass(slots=True)
class Phase:
    """One load and what was seen meanwhile."""

    name: str
    offered: float  # messages/s; 0: closed loop
    outcome: Outcome
    looks: list[Look]
    ceiling: float

    @property
    def rate(self) -> float:
        """Acknowledged a second; of a closed loop, the median of its intervals."""
        rates = [rate for _, rate in per_second(self.outcome.slices)]
        if self.offered or len(rates) < 4:
            return self.outcome.rate
        return median(rates[1:-1])

    def usage(self) -> dict[str, float]:
        """What was used, 0 to 1, as `verdict.limits` takes it."""
        first, last = self.looks[0], self.looks[-1]
        found = busy(first, last)
        took = last.machine[1] - first.machine[1]
        if took > 0:
            found["machine"] = (last.machine[0] - first.machine[0]) / took
        if first.page and last.page:
            spent = last.page.total(f"{SYNC}_sum", store="log")
            spent -= first.page.total(f"{SYNC}_sum", store="log")
            logs = sum(part == "flusher" for part, _ in last.threads) or 1
            found["sync"] = min(spent / (last.at - first.at) / logs, 1.0)
        return found

    def limits(self) -> list[Limit]:
        return limits(self.usage(), self.rate, self.ceiling)

    @property
    def limited(self) -> bool:
        """Whether it says more about the generator than about the server."""
        return self.rate > GENERATOR * self.ceiling

    def server_cpu(self) -> float:
        """Microseconds per acknowledged message; 0 when it cannot be seen."""
        spent = cpu(self.looks[0], self.looks[-1])
        own = sum(seconds for part, seconds in spent.items() if part != "generator")
        return own / max(1, self.outcome.total.counts["acknowledged"]) * 1e6


@dataclass(slots=True)
class Trial:
    """All phases, in order, and how they ended.

    drained  seconds from the end of the last load until nothing was left to do
    """

    place: Place
    profile: Profile
    plan: Plan
    interrupt: Interrupt = field(default_factory=Interrupt)
    ceiling: float = 0.0
    phases: list[Phase] = field(default_factory=list)
    sustained: bool = False
    drained: float = 0.0

    @property
    def last(self) -> Phase:
        return self.phases[-1]

    def p99(self) -> float:
        return self.last.outcome.total.whole.quantile(0.99)

    def sentence(self) -> str:
        last = self.last
        if self.interrupt.told:
            early = f"stopped early, in the phase {last.name}: "
            return early + sentence(last.rate, self.p99(), None, self._limits())
        return sentence(last.rate, self.p99(), self.sustained, self._limits())

    def _limits(self) -> list[Limit]:
        """Where it went as fast as it can: below that nothing is used up."""
        full = next((p for p in self.phases if p.name == "closed loop"), self.last)
        return full.limits()


class Screen:
    """Hears of each interval. This one is silent."""

    def begin(self, what: str, seconds: float) -> None: ...

    def tell(self, one: Slice, before: float, look: Look | None) -> None: ...

    def end(self, what: str) -> None: ...


def per_second(slices: list[Slice]) -> list[tuple[float, float]]:
    """(at, acknowledged messages/s) of each interval that has a length."""
    found, before = [], 0.0
    for one in slices:
        if one.at - before > 0.05:
            rate = one.counts["acknowledged"] / (one.at - before)
            found.append((one.at, rate))
            before = one.at
    return found


def perform(
    place: Place, profile: Profile, plan: Plan, screen: Screen, interrupt: Interrupt
) -> Trial:
    """The whole of it, or what there was until Ctrl-C; no phase, when that was before
    the first. Raises Failed, Unfinished, OSError."""
    trial = Trial(place, profile, plan, interrupt)
    trial.ceiling = ceiling(trial, screen)
    for again in ("", *(f" {n}" for n in range(2, WARM_UPS + 1))):
        _load(trial, screen, WARM_UP + again, plan.warm_up_seconds)
        if interrupt.told or not errors(trial.last):
            break
    trial.phases.clear()
    rate = plan.rate
    if not rate:
        _load(trial, screen, "closed loop", plan.seconds)
        rate = trial.last.rate * SHARE if trial.phases else 0.0
    for _ in range(TRIES):
        if rate < 1 or interrupt.told:
            break
        _load(trial, screen, f"{rate:,.0f} messages/s", plan.seconds, rate)
        trial.sustained = kept_up(trial.last, place) and not interrupt.told
        trial.drained = drain(place)
        if trial.sustained or plan.rate:
            break
        rate *= LESS
    return trial


def ceiling(trial: Trial, screen: Screen) -> float:
    """What the same generator reaches against a server that does nothing."""
    profile, plan, place = trial.profile, trial.plan, trial.place
    screen.begin("ceiling of the generator", plan.ceiling_seconds)
    with tempfile.TemporaryDirectory(prefix="fastsmtp-bench-") as folder:
        words = []
        if profile.tls:
            pair = Path(folder) / "tls.crt", Path(folder) / "tls.key"
            make_certificate(*pair, ["sink.invalid"])
            words = ["--cert", str(pair[0]), "--key", str(pair[1])]
        with sink.running({}, *words) as null:
            order = Order(
                profile=profile,
                port=null.port,
                domain=place.domain,
                seconds=plan.ceiling_seconds,
                processes=plan.processes,
                logins=place.logins,
            )
            generator = Generator(order)
            with trial.interrupt.ends(generator.stop):
                found = generator.run()
    screen.end(f"{found.rate:,.0f} messages/s against the null sink")
    return found.rate


def _load(
    trial: Trial, screen: Screen, name: str, seconds: float, rate: float = 0.0
) -> None:
    """Runs one load and adds its phase; nothing after Ctrl-C."""
    place, plan = trial.place, trial.plan
    if trial.interrupt.told:
        return
    order = Order(
        profile=trial.profile,
        port=place.port,
        host=place.host,
        remote=place.remote,
        domain=place.domain,
        rate=rate,
        seconds=seconds,
        processes=plan.processes,
        tolerant=plan.tolerant or name.startswith(WARM_UP),
        tag=f"{place.mark}{name.removesuffix(' messages/s').translate(PLAIN)}-",
        acked=plan.verify,
        logins=place.logins,
    )
    screen.begin(name, seconds)
    generator = Generator(order)
    before = [0.0]
    with (
        Watcher(place.pid, place.metrics, more=lambda: generator.pids) as watcher,
        trial.interrupt.ends(generator.stop),
    ):

        def tell(one: Slice) -> None:
            screen.tell(one, before[0], watcher.looks[-1])
            before[0] = one.at

        outcome = generator.run(tell)
    phase = Phase(name, rate, outcome, watcher.looks, trial.ceiling)
    if outcome.total.counts["acknowledged"]:
        trial.phases.append(phase)
    screen.end(summary(phase))
    if not trial.interrupt.told and (why := cut_short(phase, seconds)):
        raise Failed(f"{place.label} {why}")


def cut_short(phase: Phase, seconds: float) -> str:
    """Why a load that was to last so long says nothing of a server, or ""."""
    outcome = phase.outcome
    count = outcome.total.counts["acknowledged"]
    why = "; ".join(dict.fromkeys(outcome.errors)) or "nobody answered"
    if not count:
        return f"took no message: {why}"
    if outcome.errors and outcome.seconds < CUT * seconds:
        return f"took {count:,} messages in the phase {phase.name}, then: {why}"
    return ""


def errors(phase: Phase) -> int:
    counts = phase.outcome.total.counts
    return counts["refused"] + counts["broken"]


def summary(phase: Phase) -> str:
    whole = phase.outcome.total.whole
    return (
        f"{phase.rate:,.0f} messages/s, p50 {whole.quantile(0.5) * 1000:.1f} ms, "
        f"p99 {whole.quantile(0.99) * 1000:.1f} ms, {errors(phase):,} errors"
        + (", limited by the generator" if phase.limited else "")
    )


def kept_up(phase: Phase, place: Place) -> bool:
    """Whether a rate was held: all answered in time, without trouble or a backlog."""
    total = phase.outcome.total
    due = total.counts["started"] + total.behind
    if total.counts["acknowledged"] < KEPT_UP * due:
        return False
    if phase.outcome.seconds > due / phase.offered / IN_TIME + FIRST_SECONDS:
        return False
    page = phase.looks[-1].page
    left = page.total("fastsmtp_log_unapplied_messages") if page else 0.0
    return left <= BACKLOG_SECONDS * phase.offered


def drain(place: Place) -> float:
    """Seconds until nothing is left to do."""
    began = time.monotonic()
    if place.metrics:
        with suppress(Unfinished):  # somebody else's metrics do not say
            settle(place.metrics)
    return time.monotonic() - began
