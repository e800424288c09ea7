"""What the dashboards and rules of grafana/ ask Prometheus."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from fastsmtp.live import LIVE
from fastsmtp.metrics import counted

FOLDER = Path(__file__).parent.parent / "grafana"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
METRIC = r"\b(?:fastsmtp|process|python)_[a-z0-9_]+"

Labels = list[dict[str, str]]


class Asked(NamedTuple):
    """One question of a panel."""

    board: str
    panel: str
    expr: str
    legend: str
    unit: str
    kind: str


def boards() -> dict[str, dict[str, Any]]:
    found = sorted((FOLDER / "dashboards").glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in found}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def asked() -> list[Asked]:
    """Every question of every panel."""
    return [
        Asked(
            *(name, panel["title"], target["expr"], target["legendFormat"]),
            *(panel["fieldConfig"]["defaults"]["unit"], panel["type"]),
        )
        for name, board in boards().items()
        for panel in panels(board)
        for target in panel["targets"]
    ]


def filled(expr: str, instance: str = ".*") -> str:
    """An expression with Grafana's variables filled in."""
    values = {"$__rate_interval": "20s", "$instance": instance}
    values |= {"$listener": ".*", "$worker": ".*"}
    for name, value in values.items():
        expr = expr.replace(name, value)
    return expr


def named(text: str) -> set[str]:
    """Metrics that an expression names, as families."""
    return {family(name) for name in re.findall(METRIC, text)}


def family(name: str) -> str:
    plain = re.sub(r"_(bucket|sum|count)$", "", name)
    return plain if plain in histograms() else name


def histograms() -> set[str]:
    return {f.name for f in counted(["some"]) if f.kind == "histogram"}


def declared() -> dict[str, Labels]:
    """family -> the labels of its series; [] where only the running server knows"""
    known: dict[str, Labels] = {
        f.name: [s.labels for s in f.series] for f in counted(["some"])
    }
    known |= {live.name: list(live.labels) for live in LIVE.values()}
    return known | {"fastsmtp_build_info": []}
