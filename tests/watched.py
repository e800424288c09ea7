"""A server under load, watched by a real Prometheus: a queue that grows and drains."""

from __future__ import annotations

import asyncio
import contextlib
import json
import poplib
import shutil
import smtplib
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nameserver
from certificate import pair
from dashboards import FOLDER

from fastsmtp_bench import sink
from fastsmtp_bench.generator import Generator, Order
from fastsmtp_bench.profiles import OF_MAIL, Profile
from fastsmtp_bench.served import MANY, Served, free_port

USER, PASSWORD = "user@example.test", "correct horse battery"
FAR = {"gmail.test": 0.55, "corp.test": 0.3, "slow.test": 0.15}
"""Domains behind next hops that are down at first, and their share of the load."""
ASKED = {"gmail.test": "false", "corp.test": "false", "slow.test": "true"}
"""Whose next hop is asked about recipients."""
LOAD = Profile(name="story", what="mail", sessions=4, sizes=OF_MAIL, persistent=False)
HOOK = """\
import time
from fastsmtp.hooks import Defer, Reject

async def rcpt(facts, address):
    if address.startswith("blocked"):
        time.sleep(0.15)

async def mail(facts):
    return Reject("no") if facts.reverse_path == "spam@spam.test" else None
"""
MORE = """\
[tls]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]

[auth]
without_tls_on_loopback = true

[submission]
listen = ["127.0.0.1:{submission}"]

[pop3]
listen = ["127.0.0.1:{pop3}"]

[hooks.house]
module = "house.py"

[policy]
reverse_dns = true

[dns]
servers = ["{dns}"]

[delivery]
retry = ["{retry}"]

[log]
level = "warning"
"""
RELAYED = """
[relay_domains."{domain}"]
next_hop = "smtp://127.0.0.1:{port}"
call_ahead = {asked}
"""


@contextmanager
def dns() -> Iterator[str]:
    """Address of a name server on loopback."""
    zone: nameserver.Zone = {
        ("PTR", "1.0.0.127.in-addr.arpa"): [nameserver.ptr("client.test")],
        ("A", "client.test"): [nameserver.a("127.0.0.1")],
        ("MX", "asked.test"): [nameserver.mx(10, "mx.asked.test")],
        ("A", "mx.asked.test"): [nameserver.a("127.0.0.9")],  # nobody is there
    }
    loop = asyncio.new_event_loop()
    begun, found = threading.Event(), [""]
    end = asyncio.Event()

    async def run() -> None:
        async with nameserver.serving(zone) as server:
            found[0] = server.address
            begun.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    begun.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


class Prometheus:
    """Debian's, with the rules of grafana/, scraping every second."""

    def __init__(self, home: Path, target: int) -> None:
        self.port = free_port()
        self.target = f"127.0.0.1:{target}"
        home.mkdir()
        shutil.copytree(FOLDER / "rules", home / "rules")
        recording = home / "rules" / "recording.yml"
        often = recording.read_text().replace("interval: 30s", "interval: 1s")
        recording.write_text(often)
        config = (FOLDER / "prometheus.yml").read_text()
        config = config.replace("scrape_interval: 10s", "scrape_interval: 1s")
        config = config.replace("evaluation_interval: 30s", "evaluation_interval: 1s")
        config = config.replace("127.0.0.1:9925", f"127.0.0.1:{target}")
        config = config.replace("127.0.0.1:9090", f"127.0.0.1:{self.port}")
        (home / "prometheus.yml").write_text(config)
        with (home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={home / 'prometheus.yml'}",
                    f"--storage.tsdb.path={home / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--enable-feature=exemplar-storage",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, what: str, **words: str | float) -> Any:
        """The `data` of an answer of the HTTP API. Raises OSError."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}"
        data = urllib.parse.urlencode(words).encode() if words else None
        with urllib.request.urlopen(url, data=data, timeout=30) as answer:
            return json.load(answer)["data"]

    def samples(self, expr: str, at: float = 0.0) -> dict[str, float]:
        """The value of every series, by the values of its labels."""
        words: dict[str, str | float] = {"query": expr}
        found = self.ask("query", **words | ({"time": at} if at else {}))["result"]
        return {
            " ".join(v for k, v in sorted(one["metric"].items()) if k != "__name__"): (
                float(one["value"][1])
            )
            for one in found
        }

    def total(self, expr: str) -> float:
        """The sum of all series; -1 while nothing is known."""
        with contextlib.suppress(OSError):
            found = self.samples(f"sum({expr})")
            return found.get("", -1.0)
        return -1.0

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class Watched:
    """All of it; `with watched(home) as story`."""

    def __init__(self, home: Path, dns: str, retry: str) -> None:
        self.submission, self.pop3, self.far = free_port(), free_port(), free_port()
        home.mkdir(exist_ok=True)
        (home / "house.py").write_text(HOOK)
        certificate, key = pair(home, "mx.example.test")
        more = MORE.format(
            certificate=certificate,
            key=key,
            submission=self.submission,
            pop3=self.pop3,
            dns=dns,
            retry=retry,
        )
        more += "".join(
            RELAYED.format(domain=d, port=self.far, asked=ASKED[d]) for d in FAR
        )
        self.server = Served(home, "split", MANY, more)
        self.server.configure()
        words = ("user", "add", USER, "--password-stdin")
        self.server.command(*words, given=f"{PASSWORD}\n")

    def load(self, rate: float, seconds: float) -> None:
        """To far domains and, as much again, to our own; returns when it is over."""
        shares = {**FAR, "example.test": 1.0}
        threads = [
            threading.Thread(target=self._load, args=(domain, rate * share, seconds))
            for domain, share in shares.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _load(self, domain: str, rate: float, seconds: float) -> None:
        order = Order(
            profile=LOAD,
            port=self.server.port,
            domain=domain,
            rate=rate,
            seconds=seconds,
            tolerant=True,
        )
        Generator(order).run()

    def people(self, forgetful: bool = True) -> None:
        """Users who submit, fetch, and forget a password; strangers who err."""
        with smtplib.SMTP("127.0.0.1", self.submission) as client:
            client.starttls()
            if forgetful:
                with contextlib.suppress(smtplib.SMTPException):
                    client.login(USER, "wrong")
            client.login(USER, PASSWORD)
            for to in ("you@corp.test", "you@asked.test"):
                client.sendmail(USER, to, "Subject: lunch\r\n\r\nNoon?\r\n")
        with smtplib.SMTP("127.0.0.1", self.server.port) as client:
            for to in (
                "nobody@example.test",
                "x@elsewhere.test",
                "blocked@example.test",
            ):
                client.ehlo()
                client.mail("you@example.org")
                client.rcpt(to)
                client.rset()
            client.mail("spam@spam.test")
            client.rset()
            client.docmd("NONSENSE")
        box = poplib.POP3("127.0.0.1", self.pop3)
        box.user(USER)
        box.pass_(PASSWORD)
        for number in range(1, min(6, box.stat()[0] + 1)):
            box.retr(number)
            box.dele(number)
        box.quit()

    def queued(self) -> list[dict[str, Any]]:
        """What `fastsmtp queue list` says."""
        text = self.server.command("queue", "list", "--json")
        return [json.loads(line) for line in text.splitlines()]


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Looks again and again, with a limit."""
    tries = threading.Event()
    for _ in range(int(seconds * 10)):
        if true():
            return
        tries.wait(0.1)
    raise AssertionError(f"{what} did not come in {seconds} s")


@contextmanager
def watched(home: Path, retry: str = "10 min") -> Iterator[tuple[Watched, Prometheus]]:
    with ExitStack() as stack:
        story = Watched(home / "mx", stack.enter_context(dns()), retry)
        story.server.start()
        stack.callback(story.server.stop)
        prometheus = Prometheus(home / "prometheus", story.server.metrics_port)
        stack.callback(prometheus.stop)
        until(lambda: prometheus.total("up{job='fastsmtp'}") == 1, 30, "Prometheus")
        yield story, prometheus


@contextmanager
def opened(story: Watched, rules: dict[str, Any] | None = None) -> Iterator[None]:
    """The next hops are there; `rules` as `fastsmtp-bench sink` reads them."""
    with sink.running(rules, port=story.far):
        yield
