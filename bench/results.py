"""A trial as JSON: what the report draws and `compare` compares."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastsmtp_bench import machine
from fastsmtp_bench.generator import Slice
from fastsmtp_bench.ledger import Balance
from fastsmtp_bench.trial import AGES, BATCH, QUANTILES, SYNC, Phase, Trial
from fastsmtp_bench.watching import Look, cpu

FORMAT: Final = 1


def document(trial: Trial, directory: Path, balance: Balance | None) -> dict[str, Any]:
    """The whole of it, ready for `json.dumps`."""
    last = trial.last
    limited = any(one.limited for one in trial.phases)
    return {
        "format": FORMAT,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{machine.processor()}; {machine.file_system(directory)}; "
        f"{machine.versions()}",
        "target": trial.place.label,
        "profile": asdict(trial.profile),
        "processes": trial.plan.processes,
        "ceiling": round(trial.ceiling, 1),
        "verdict": {
            "sentence": trial.sentence(),
            "rate": round(last.rate, 1),
            "p99": trial.p99(),
            "sustained": trial.sustained,
            "limited_by_the_generator": limited,
            "interrupted": trial.interrupt.told,
            "drained": round(trial.drained, 3),
        },
        "verified": asdict(balance) | {"sentence": balance.sentence()}
        if balance
        else None,
        "phases": [phase(one) for one in trial.phases],
    }


def phase(one: Phase) -> dict[str, Any]:
    total = one.outcome.total
    first, last = one.looks[0], one.looks[-1]
    found: dict[str, Any] = {
        "name": one.name,
        "offered": round(one.offered, 1),
        "rate": round(one.rate, 1),
        "limited_by_the_generator": one.limited,
        "server_cpu_us": round(one.server_cpu(), 1),
        "generator_cpu_us": round(
            total.cpu / max(1, total.counts["acknowledged"]) * 1e6, 1
        ),
        "counts": dict(total.counts),
        "replies": {code: n for code, n in sorted(total.replies.items()) if n},
        "behind": total.behind,
        "errors": one.outcome.errors,
        "limits": [[limit.what, round(limit.share, 3)] for limit in one.limits()],
        "whole": quantiles(total.whole) | {"histogram": total.whole.pairs()},
        "waited": quantiles(total.waited) | {"histogram": total.waited.pairs()},
        "slices": slices(one.outcome.slices),
        "looks": [
            look(a, b, first)
            for a, b in zip(one.looks, one.looks[1:], strict=False)
            if b.at - a.at > 0.1
        ],
        "memory": [first.memory, last.memory],
    }
    if first.page and last.page:
        before = first.page.buckets(BATCH, store="log")
        after = last.page.buckets(BATCH, store="log")
        found["batch"] = {edge: n - before.get(edge, 0) for edge, n in after.items()}
        count = last.page.total(f"{SYNC}_count") - first.page.total(f"{SYNC}_count")
        spent = last.page.total(f"{SYNC}_sum") - first.page.total(f"{SYNC}_sum")
        found["sync_ms"] = round(spent / count * 1000, 3) if count else 0.0
    return found


def quantiles(histogram: Any) -> dict[str, float]:
    """In seconds."""
    return {f"p{part * 100:g}": histogram.quantile(part) for part in QUANTILES}


def slices(found: list[Slice]) -> list[dict[str, float]]:
    made, before = [], 0.0
    for one in found:
        took = one.at - before
        if took < 0.05:
            continue
        made.append(
            {
                "at": round(one.at, 3),
                "rate": round(one.counts["acknowledged"] / took, 1),
                "p50": one.whole.quantile(0.5),
                "p99": one.whole.quantile(0.99),
                "errors": one.counts["refused"] + one.counts["broken"],
                "behind": one.behind,
            }
        )
        before = one.at
    return made


def look(before: Look, now: Look, first: Look) -> dict[str, Any]:
    """What was so between two looks; processor shares are of one core."""
    took = now.at - before.at
    found: dict[str, Any] = {
        "at": round(now.at - first.at, 3),
        "cpu": {part: round(s / took, 3) for part, s in cpu(before, now).items()},
        "memory": now.memory,
    }
    if now.page:
        found["queue"] = {
            "not yet applied": now.page.total("fastsmtp_log_unapplied_messages"),
            **now.page.by(AGES, "age"),
        }
    return found
