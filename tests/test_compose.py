"""grafana/compose.yaml: what can be said of it without Docker. A real tool takes it;
what it mounts is there, and found where the others look for it; its command lines
start the servers, which then evaluate the rules and reach each other.
"""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dashboards import FOLDER, boards
from watched import until

from fastsmtp_bench.served import free_port

FILE = FOLDER / "compose.yaml"
DEBIAN = {
    "prometheus": ("prometheus", "prometheus"),
    "alertmanager": ("prometheus-alertmanager", "prometheus-alertmanager"),
}
"""The binary and package of a service."""


def service(name: str) -> str:
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", FILE.read_text(), re.M)
    assert found
    return found[1]


def listed(name: str, key: str) -> list[str]:
    found = re.search(rf"^    {key}:\n((?:      - .*\n)+)", service(name), re.M)
    assert found
    return re.findall(r"^      - (.*)$", found[1], re.M)


def mounts(name: str) -> dict[str, Path]:
    """Place in the container -> file or folder of the repository."""
    each = (one.split(":") for one in listed(name, "volumes"))
    return {one[1]: FOLDER / one[0] for one in each if one[0].startswith(".")}


def in_container(name: str, path: str) -> Path:
    """What `path` of the container is in the repository."""
    for place, here in mounts(name).items():
        if path == place or path.startswith(f"{place}/"):
            return here / path[len(place) :].lstrip("/")
    raise AssertionError(f"nothing of {path} is mounted in {name}")


@pytest.mark.parametrize("name", ["prometheus", "alertmanager", "grafana"])
def test_what_is_mounted_is_there(name: str) -> None:
    assert mounts(name)
    for place, here in mounts(name).items():
        assert here.exists(), place
        assert here.is_dir() == ("." not in place.rpartition("/")[2]), place


def test_files_that_are_named_are_mounted() -> None:
    for name in DEBIAN:
        (config,) = [
            word.partition("=")[2]
            for word in listed(name, "command")
            if word.startswith("--config.file=")
        ]
        assert in_container(name, config).is_file()
    rules = re.findall(r"rule_files: \[(.+)\]", (FOLDER / "prometheus.yml").read_text())
    assert rules == ["rules/*.yml"]  # beside prometheus.yml
    assert in_container("prometheus", "/etc/prometheus/rules") == FOLDER / "rules"


def test_grafana_finds_what_is_provisioned() -> None:
    text = (FOLDER / "provisioning/dashboards/fastsmtp.yml").read_text()
    (path,) = re.findall(r"^ +path: (\S+)$", text, re.M)
    names = {one.stem for one in in_container("grafana", path).glob("*.json")}
    assert names == set(boards())
    home = re.search(r"HOME_DASHBOARD_PATH: (\S+)", service("grafana"))
    assert home
    assert in_container("grafana", home[1]).is_file()
    source = (FOLDER / "provisioning/datasources/prometheus.yml").read_text()
    assert re.findall(r"^ +(type|isDefault): (\S+)$", source, re.M) == [
        ("type", "prometheus"),
        ("isDefault", "true"),
    ]  # what a variable of this type begins with
    for board in boards().values():
        (chosen,) = [
            one["query"]
            for one in board["templating"]["list"]
            if one["type"] == "datasource"
        ]
        assert chosen == "prometheus"


def test_run_books_are_where_links_go() -> None:
    """Grafana serves /usr/share/grafana/public as /public."""
    links = set(
        re.findall(r":3000(/public/\S+\.md)", (FOLDER / "rules/alerts.yml").read_text())
    )
    assert links
    for link in links:
        assert in_container("grafana", f"/usr/share/grafana{link}").is_file(), link


def test_they_find_each_other() -> None:
    """All are on the host's own network, so addresses are the machine's."""
    listens = {
        name: listen.partition("=")[2]
        for name in DEBIAN
        for listen in listed(name, "command")
        if listen.startswith("--web.listen-address=")
    }
    config = (FOLDER / "prometheus.yml").read_text()
    (told,) = re.findall(r'alertmanagers:\n.*targets: \["(.+)"\]', config)
    assert told == listens["alertmanager"]
    source = (FOLDER / "provisioning/datasources/prometheus.yml").read_text()
    assert f"url: http://{listens['prometheus']}\n" in source
    for name in (*DEBIAN, "grafana"):
        assert "network_mode: host\n" in service(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("docker", "compose", "-f", FILE, "config", "--quiet"),
        ("docker-compose", "-f", FILE, "config", "--quiet"),
    ],
    ids=lambda command: " ".join(map(str, command[:2])).removesuffix(" -f"),
)
def test_compose_takes_it(command: tuple[str | Path, ...]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    if command[1] == "compose":
        known = subprocess.run(["docker", "compose", "version"], capture_output=True)
        if known.returncode:
            pytest.skip("docker has no compose here")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)


def quietly(true: Callable[[], bool]) -> Callable[[], bool]:
    def asked() -> bool:
        try:
            return true()
        except OSError:
            return False

    return asked


class Place:
    """Where the two run: copies of what is mounted, at paths and ports of our own.

    Nothing else is changed but how often it looks and how long an alert has to last.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = {name: free_port() for name in ("9090", "9093", "9925")}
        for name in DEBIAN:
            for place, here in mounts(name).items():
                to = self.mapped(name, place)
                to.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if here.is_dir() else shutil.copy
                copy(here, to)
        self._change(self.mapped("prometheus", "/etc/prometheus/prometheus.yml"))
        for path in self.mapped("prometheus", "/etc/prometheus/rules").glob("*.yml"):
            self._change(path)

    def mapped(self, name: str, place: str) -> Path:
        return self.home / name / place.lstrip("/")

    def _change(self, path: Path) -> None:
        text = re.sub(
            r"(scrape_|evaluation_)?interval: \d+s", r"\1interval: 1s", path.read_text()
        )
        path.write_text(self.ported(re.sub(r"\bfor: \w+", "for: 0s", text)))

    def ported(self, text: str) -> str:
        for old, new in self.ports.items():
            text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
        return text

    def command(self, name: str) -> list[str]:
        """The command line of the file."""
        words = [DEBIAN[name][0]]
        for word in listed(name, "command"):
            flag, equals, value = word.partition("=")
            value = str(self.mapped(name, value)) if value.startswith("/") else value
            words.append(self.ported(f"{flag}{equals}{value}"))
        return words

    @contextmanager
    def running(self, name: str) -> Iterator[Path]:
        """Gives its log."""
        path = self.home / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(self.command(name), stdout=log, stderr=log)
        try:
            yield path
        finally:
            process.terminate()
            process.wait()


@pytest.mark.slow
def test_rules_are_evaluated_and_an_alert_arrives(tmp_path: Path) -> None:
    """Nothing answers where the server should be: FastsmtpDown must wake somebody."""
    for binary, package in DEBIAN.values():
        if shutil.which(binary) is None:
            pytest.skip(f"{binary} is not installed (Debian: {package})")
    place = Place(tmp_path)
    port, alerts = place.ports["9090"], place.ports["9093"]

    def arrived() -> bool:
        found = ask(alerts, "/api/v2/alerts")
        told = {one["labels"]["alertname"]: one["receivers"] for one in found}
        return told.get("FastsmtpDown") == [{"name": "wake"}]

    with ExitStack() as stack:
        logs = [stack.enter_context(place.running(name)) for name in DEBIAN]
        until(quietly(arrived), 30, f"an alert ({', '.join(map(str, logs))})")
        (known,) = ask(port, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        assert known["url"].startswith(f"http://127.0.0.1:{alerts}/")
        groups = ask(port, "/api/v1/rules")["data"]["groups"]
        health = {
            rule["name"]: rule["health"] for one in groups for rule in one["rules"]
        }
        assert len(health) > 30
        assert set(health.values()) == {"ok"}
        flags = ask(port, "/api/v1/status/flags")["data"]
        assert flags["storage.tsdb.retention.time"] == "30d"
        assert flags["enable-feature"] == "exemplar-storage"
