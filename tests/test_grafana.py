"""The dashboards: as their code makes them, whole, and about metrics that exist."""

import re
from itertools import combinations
from typing import Any

import pytest
from dashboards import FOLDER, asked, boards, declared, named, panels

from grafana.__main__ import texts

RUNBOOKS = FOLDER.parent / "docs/runbooks"

ON_NO_PANEL: dict[str, str] = {}
"""Families that no panel shows, and why."""


def test_the_dashboards_are_what_their_code_makes() -> None:
    stored = {path.name: path.read_text() for path in FOLDER.glob("dashboards/*.json")}
    assert stored == texts(), "run: .venv/bin/python -m grafana"


@pytest.mark.parametrize("name", boards())
def test_a_dashboard_is_whole(name: str) -> None:
    board = boards()[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {each["name"] for each in board["templating"]["list"]}
    assert variables == {"datasource", "instance", "listener", "worker"}
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", boards())
def test_no_panel_lies_on_another(name: str) -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        columns = range(at.get("x", 0), at.get("x", 0) + at["w"])
        return {(x, y) for x in columns for y in range(at["y"], at["y"] + at["h"])}

    for one, other in combinations(boards()[name]["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])
    for panel in boards()[name]["panels"]:
        assert panel["gridPos"].get("x", 0) + panel["gridPos"]["w"] <= 24


@pytest.mark.parametrize("name", boards())
def test_a_panel_says_what_it_shows(name: str) -> None:
    for panel in panels(boards()[name]):
        title = panel["title"]
        assert len(panel["description"]) > 8, title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["datasource"]["uid"] == "${datasource}", title
        for target in panel["targets"]:
            assert target["legendFormat"] or panel["type"] == "stat", title
            assert "$instance" in target["expr"], title
            assert not re.search(r"\$[A-Z]", target["expr"]), title


@pytest.mark.parametrize("name", boards())
def test_limits_are_in_colour(name: str) -> None:
    for panel in panels(boards()[name]):
        if panel["type"] == "heatmap":
            continue
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None
        values = [step["value"] for step in steps[1:]]
        assert values == sorted(values)


def test_the_depth_of_the_queue_comes_first() -> None:
    for name in ("overview", "queue"):
        first, second = panels(boards()[name])[:2]
        assert "fastsmtp_queue_messages{" in first["targets"][0]["expr"]
        assert "fastsmtp_queue_messages_by_age{" in second["targets"][0]["expr"]


def test_panels_name_metrics_that_are_declared() -> None:
    for one in asked():
        assert named(one.expr) <= set(declared()), (one.board, one.panel)
        assert named(one.expr), (one.board, one.panel)


def test_every_metric_is_on_a_panel() -> None:
    shown = {name for one in asked() for name in named(one.expr)}
    missing = set(declared()) - shown
    assert missing == set(ON_NO_PANEL)


def test_selectors_name_labels_and_values_that_exist() -> None:
    """A typing error in a matcher would show an empty panel for ever."""
    for one in asked():
        for name, inside in re.findall(r"(\w+)\{([^}]*)\}", one.expr):
            series = declared()[next(iter(named(name)))]
            for label, op, value in re.findall(r'(\w+)(!?=~?)"([^"]*)"', inside):
                known = {labels.get(label) for labels in series}
                if label == "instance" or value.startswith("$") or not series:
                    continue
                wanted = value.split("|") if "~" in op else [value]
                assert set(wanted) <= known, (one.panel, label, value)


def test_run_books_are_linked_and_whole() -> None:
    """Each page is reached from a panel or an alert, and says the three things."""
    alerts = (FOLDER / "rules/alerts.yml").read_text()
    linked = {
        link["url"].rpartition("/")[2]
        for board in boards().values()
        for panel in panels(board)
        for link in panel.get("links") or ()
    }
    linked |= set(re.findall(r"runbooks/([a-z-]+\.md)", alerts))
    source = (FOLDER / "provisioning/datasources/prometheus.yml").read_text()
    linked |= set(re.findall(r"runbooks/([a-z-]+\.md)", source))
    pages = {path.name: path.read_text() for path in RUNBOOKS.glob("*.md")}
    index = pages.pop("README.md")
    assert linked == set(pages)
    for name, text in pages.items():
        assert f"({name})" in index
        assert "\n## What to type\n" in text
        assert "\n## What is normal\n" in text
        for other in re.findall(r"\]\(([a-z-]+\.md)\)", text):
            assert other in pages, (name, other)
