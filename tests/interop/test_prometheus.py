"""Every question of every panel, asked of a real Prometheus that watched a real server
whose queue grew and drained; and the depths that it knows, beside what commands say."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from dashboards import Asked, asked, filled
from watched import Prometheus, Watched, opened, until, watched

pytestmark = pytest.mark.slow

NOTHING_TO_SHOW = {
    "Hours until the disk is full": "others give disk space back in the same minute",
    "Log: compaction": "nothing is half dead after a minute",
    "Log: segments deleted": "none is dead after a minute",
}
"""Panels that may be empty after this story, and why."""
NO_VALUE = {
    "instance:fastsmtp_queue_drain_seconds": "in five minutes more came than left",
}
"""Rules that may have no value after this story, and why."""
GROWTH = 12.0  # seconds of load while the next hops are down


class Story(NamedTuple):
    """begun, grown, ended   wall clock; what commands and Prometheus said when it was
    grown and nothing moved."""

    prometheus: Prometheus
    begun: float
    grown: float
    ended: float
    listed: list[dict[str, Any]]
    top: list[dict[str, Any]]
    known: dict[str, dict[str, float]]
    known_by_why: Callable[[str], str]


def known(prometheus: Prometheus) -> dict[str, dict[str, float]]:
    """What Prometheus knows of the depth, by one label."""
    asks = {
        "state": "sum by (state) (fastsmtp_queue_messages)",
        "age": "sum by (age) (fastsmtp_queue_messages_by_age)",
        "octets": "sum by (state) (fastsmtp_queue_bytes)",
        "destination": "sum by (destination) (fastsmtp_queue_destination_messages)",
    }
    return {name: prometheus.samples(expr) for name, expr in asks.items()}


def told(story: Watched, words: str) -> list[dict[str, Any]]:
    text = story.server.command("queue", words, "--json")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    with watched(tmp_path_factory.mktemp("watched")) as (mail, prometheus):
        begun = time.time()
        mail.people()
        mail.load(40, GROWTH)
        mail.people()
        mail.server.command("queue", "hold", "--domain", "slow.test", "--yes")
        first = told(mail, "list")
        # Prometheus looks once a second: until it has seen what was done last.
        until(
            lambda: (
                prometheus.total("fastsmtp_queue_messages") == len(first)
                and prometheus.total('fastsmtp_queue_messages{state="active"}') == 0
            ),
            30,
            "a scrape of the queue at rest",
        )
        listed, top, depth = told(mail, "list"), told(mail, "top"), known(prometheus)
        (drain,) = {filled(one.expr) for one in asked() if one.legend == "empty in"}
        grown = time.time()
        mail.server.command("queue", "release", "--all", "--yes")
        with opened(mail):
            mail.server.command("queue", "retry", "--all", "--yes")
            mail.load(4, 3)
            until(lambda: len(mail.queued()) < len(listed) / 2, 120, "half of it")
            mail.people()
            # as soon as less came than left in what the panel looks back at
            until(lambda: bool(ranged(prometheus, drain, begun)), 60, "it drains")
            until(
                lambda: prometheus.total("fastsmtp_queue_messages") < len(listed) / 2,
                20,
                "a scrape of the smaller queue",
            )
        why = partial(mail.server.command, "why")
        yield Story(prometheus, begun, grown, time.time(), listed, top, depth, why)


def ranged(
    prometheus: Prometheus, expr: str, begun: float, ended: float | None = None
) -> list[dict[str, Any]]:
    """All that it answers for each second until now, or `ended`."""
    words = {"start": begun, "end": ended or time.time(), "step": 1}
    found: list[dict[str, Any]] = prometheus.ask("query_range", query=expr, **words)[
        "result"
    ]
    return found


def values(story: Story, one: Asked) -> list[float]:
    """All that Prometheus answers to a question, but for what is no number."""
    expr = filled(one.expr, story.prometheus.target)
    if one.kind in ("bargauge",):
        return list(story.prometheus.samples(expr, at=story.grown).values())
    found = ranged(story.prometheus, expr, story.begun, story.ended)
    labels = {label for series in found for label in series["metric"]}
    assert found == [] or set(re.findall(r"{{(\w+)}}", one.legend)) <= labels
    numbers = (float(v) for series in found for _, v in series["values"])
    return [number for number in numbers if math.isfinite(number)]


@pytest.mark.parametrize(
    "one", asked(), ids=lambda one: f"{one.board}: {one.panel}: {one.legend}"
)
def test_a_panel_has_something_to_show(story: Story, one: Asked) -> None:
    found = values(story, one)
    if one.panel not in NOTHING_TO_SHOW:
        assert found, filled(one.expr)
    assert all(number >= 0 for number in found), one.panel


def test_the_depth_is_what_queue_list_says(story: Story) -> None:
    assert len(story.listed) > 150
    states = Counter(entry["state"] for entry in story.listed)
    assert states["hold"] > 10
    assert {s: n for s, n in story.known["state"].items() if n} == states
    octets: Counter[str] = Counter()
    for entry in story.listed:
        octets[entry["state"]] += entry["octets"]
    assert {s: n for s, n in story.known["octets"].items() if n} == octets


def test_the_shape_is_what_queue_top_says(story: Story) -> None:
    """A minute of arrival may pass between the scrape and the command."""
    found = {row["destination"]: row["messages"] for row in story.top}
    assert {d: n for d, n in story.known["destination"].items() if n} == found
    ages: Counter[str] = Counter()
    for row in story.top:
        ages.update(row["ages"])
    mine = story.known["age"]
    assert sum(mine.values()) == sum(ages.values()) == len(story.listed)
    young = ("1m", "5m")
    assert sum(mine[a] for a in young) == sum(ages[a] for a in young)


@pytest.mark.parametrize(
    "name",
    [
        *("smtp_accept_duration", "smtp_data_receive_duration"),
        *("smtp_command_duration", "check_duration", "queue_lag"),
        *("delivery_duration", "delivery_delay"),
        *("store_commit_duration", "store_sync_duration"),
    ],
)
def test_points_are_messages_that_why_knows(story: Story, name: str) -> None:
    found = story.prometheus.ask(
        "query_exemplars",
        query=f"fastsmtp_{name}_seconds_bucket",
        start=story.begun,
        end=story.ended,
    )
    labels = [one["labels"] for each in found for one in each["exemplars"]]
    id = labels[-1]["queue_id"]
    assert id in story.known_by_why(id)


def test_rules_have_values(story: Story) -> None:
    text = (
        Path(__file__).parent.parent.parent / "grafana/rules/recording.yml"
    ).read_text()
    names = [line.split()[-1] for line in text.splitlines() if "record:" in line]
    empty = [
        name
        for name in names
        if name not in NO_VALUE
        and not ranged(story.prometheus, name, story.begun, story.ended)
    ]
    assert empty == []


def test_alerts_are_loaded_and_none_cries_wolf(story: Story) -> None:
    found = story.prometheus.ask("rules")["groups"]
    rules = [rule for group in found for rule in group["rules"]]
    assert [r["name"] for r in rules if r["health"] != "ok"] == []
    assert len(rules) > 30
    assert [r["name"] for r in rules if r.get("state") == "firing"] == []
