"""Recording and alert rules, and where alerts go: by promtool and amtool of Debian."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dashboards import FOLDER, RULES, declared, named

ALERTS = (FOLDER / "rules/alerts.yml").read_text()
CASES = FOLDER / "tests/alerts.yml"


def tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return found


def run(*command: str | Path) -> str:
    """What a tool says; the test fails with it."""
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def alerts() -> list[str]:
    return re.findall(r"^ +- alert: (\w+)$", ALERTS, re.M)


def test_rules_name_metrics_that_are_declared() -> None:
    for path in RULES:
        recorded = set(re.findall(r"record: (\S+)", path.read_text()))
        text = re.sub(r"\w+:\w+:?\w*", "", path.read_text())
        assert named(text) <= set(declared()), path
        for name in re.findall(r"instance\w*:fastsmtp\w+(?::\w+)?", ALERTS):
            assert path.name == "alerts.yml" or name in recorded


def test_an_alert_says_how_bad_it_is_and_what_to_do() -> None:
    each = ALERTS.split("- alert: ")[1:]
    assert len(each) == len(set(alerts())) > 20
    for alert in each:
        assert re.search(r"severity: (critical|warning) ", alert)
        assert re.search(r'summary: ".*\$labels.instance', alert)
        assert re.search(r"runbook_url: \S+/public/runbooks/[a-z-]+\.md\n", alert)


def test_every_alert_is_tried_in_trouble_and_in_health() -> None:
    text = CASES.read_text()
    for alert in alerts():
        for how in ("in trouble", "in health"):
            assert f"- name: {alert} {how}\n" in text
    assert text.count("exp_alerts: []") == len(alerts())


@pytest.mark.slow
def test_alerts_fire_in_trouble_and_not_in_health() -> None:
    promtool = tool("promtool", "prometheus")
    assert "SUCCESS" in run(promtool, "test", "rules", CASES)


@pytest.mark.slow
def test_prometheus_takes_its_configuration() -> None:
    promtool = tool("promtool", "prometheus")
    assert "SUCCESS" in run(promtool, "check", "config", FOLDER / "prometheus.yml")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "wake"), ("warning", "morning")]
)
def test_alerts_go_to_who_is_meant(severity: str, receiver: str) -> None:
    amtool = tool("amtool", "prometheus-alertmanager")
    file = FOLDER / "alertmanager.yml"
    run(amtool, "check-config", file)
    where = ("config", "routes", "test", f"--config.file={file}")
    run(amtool, *where, f"--verify.receivers={receiver}", f"severity={severity}")
