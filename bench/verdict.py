"""Says in one sentence what a run found, and what held it back."""

from dataclasses import dataclass
from typing import Final

BUSY: Final = 0.7  # a resource below this is no limit
FULL: Final = 0.9  # of the machine
GENERATOR: Final = 0.8  # of the ceiling; above it the generator is the limit
NAMES: Final = {
    "loop": "CPU of the loop",
    "keeper": "CPU of the keeper",
    "flusher": "CPU of the flusher",
    "send": "CPU of the sender",
    "read": "CPU of the readers",
    "rest": "CPU of another thread",
    "sync": "fdatasync",
    "machine": "CPU of the machine",
    "generator": "the generator",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A resource and how much of it was used, 0 to 1."""

    what: str
    share: float

    def __str__(self) -> str:
        return f"{NAMES.get(self.what, self.what)} ({self.share:.0%})"


def limits(usage: dict[str, float], rate: float, ceiling: float) -> list[Limit]:
    """What was used most, first.

    usage    part -> share, as `watching.busy` gives it, with `sync`: the time that the
             message log spent in write and fdatasync; and `machine`
    ceiling  what the generator reaches against the null sink
    """
    apart = ("generator", "machine")
    found = [Limit(name, s) for name, s in usage.items() if name not in apart]
    found.sort(key=lambda limit: -limit.share)
    if "machine" in usage:
        # a thread that is ready and waits counts as busy, so one that is the limit is
        # named even where all share too few processors
        machine = Limit("machine", usage["machine"])
        found.insert(sum(limit.share >= BUSY for limit in found), machine)
    if ceiling and rate > GENERATOR * ceiling:
        found.insert(0, Limit("generator", min(rate / ceiling, 1.0)))
    return found


def because(found: list[Limit]) -> str:
    """The half of the sentence that names the limit."""
    if not found:
        return "what limits it cannot be seen from here"
    first, *others = found
    if first.share < BUSY and first.what != "generator":
        return f"nothing was used up ({first}): it waits for its clients"
    text = f"the limit is {first}"
    if others and others[0].share >= BUSY / 2:
        text += f"; next: {others[0]}"
    machine = next((limit for limit in others if limit.what == "machine"), None)
    if machine and machine.share >= FULL and machine is not others[0]:
        text += f"; the machine has no processor left ({machine.share:.0%})"
    return text


def milliseconds(seconds: float) -> str:
    ms = seconds * 1000
    return f"{ms:.2f} ms" if ms < 10 else f"{ms:,.0f} ms"


def sentence(
    rate: float, p99: float, sustained: bool | None, found: list[Limit]
) -> str:
    """The verdict; `sustained` is None when it was not found out."""
    if not rate:
        return "takes no message; see the errors"
    verb = "sustains" if sustained else "does not keep up; reaches"
    verb = "reached" if sustained is None else verb
    return f"{verb} {rate:,.0f} messages/s at p99 {milliseconds(p99)}; {because(found)}"
