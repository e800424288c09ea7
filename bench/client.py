"""One run of a client against a server: what it reached and what it cost."""

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastsmtp_bench import peers
from fastsmtp_bench.native import program
from fastsmtp_bench.process import cpu_seconds
from fastsmtp_bench.workloads import Workload

Client = Literal["load", "smtp-source"]
TIMEOUT = 120.0  # seconds, for a run and for the work that is left after it
SENDER = "load@sender.example"
PENDING = re.compile(
    r"^fastsmtp_(?:log_unapplied_messages"
    r'|queue_messages\{[^}]*state="(?:incoming|active)"[^}]*\})\S* (\S+)',
    re.MULTILINE,
)


class Unfinished(Exception):
    """A client failed, or the server did not finish its work."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server on loopback; its whole process tree is counted.

    metrics    URL that says when nothing is left to do; None: replies are the end
    settled    returns when nothing is left to do, where no URL says it
    mailboxes  messages go to user0001@ … in turn (our own client only); 0: to `to`
    starttls   talk TLS 1.3 (our own client only)
    chunk      send BDAT instead of DATA (our own client only)
    """

    port: int
    pid: int
    to: str = "user@example.test"
    metrics: str | None = None
    settled: Callable[[], None] | None = None
    mailboxes: int = 0
    starttls: bool = False
    chunk: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """messages/s until the last one is done; CPU per message in microseconds.

    p50, p99  from the last octet of the body to its 250, µs; 0: not measured
    """

    rate: float
    server_cpu: float
    client_cpu: float
    p50: float = 0.0
    p99: float = 0.0


def run(client: Client, work: Workload, target: Target) -> Run:
    """Sends the workload once. Raises Unfinished."""
    before, start = cpu_seconds(target.pid), time.perf_counter()
    report, spent = _send(client, work, target)
    if target.metrics:
        settle(target.metrics)
    if target.settled:
        target.settled()
    took = time.perf_counter() - start
    latency = report.get("latency_us", {})
    return Run(
        rate=work.messages / took,
        server_cpu=(cpu_seconds(target.pid) - before) / work.messages * 1e6,
        client_cpu=spent / work.messages * 1e6,
        p50=latency.get("p50", 0.0),
        p99=latency.get("p99", 0.0),
    )


def settle(url: str) -> None:
    """Returns when no accepted message waits for its mailbox. Raises Unfinished."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if pending(url) == 0:
            return
        time.sleep(0.005)
    raise Unfinished(f"{pending(url):.0f} messages are still not in their mailboxes")


def pending(url: str) -> float:
    """Accepted messages that are not in their mailboxes yet."""
    with urllib.request.urlopen(url, timeout=10) as reply:
        found = PENDING.findall(reply.read().decode())
    if not found:
        raise Unfinished(f"{url} does not say what is left to do")
    return sum(float(value) for value in found)


def _send(
    client: Client, work: Workload, target: Target
) -> tuple[dict[str, Any], float]:
    """Runs the client; its report and its CPU seconds."""
    command, environment = _command(client, work, target)
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert child.stdout
    assert child.stderr
    with child.stdout, child.stderr:
        said, complaint = child.stdout.read(), child.stderr.read()
    _, status, use = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        detail = (said + complaint).decode(errors="replace")
        raise Unfinished(f"{client} ended with {child.returncode}: {detail}")
    return (json.loads(said) if said else {}), use.ru_utime + use.ru_stime


def _command(
    client: Client, work: Workload, target: Target
) -> tuple[list[str], dict[str, str] | None]:
    if client == "smtp-source":
        binary, environment = peers.tool("smtp-source")
        to = ["-f", SENDER, "-t", target.to, f"127.0.0.1:{target.port}"]
        return [str(binary), *work.source_arguments(), *to], environment
    spread = ["--mailboxes", str(target.mailboxes)] if target.mailboxes else []
    spread += ["--starttls"] if target.starttls else []
    spread += ["--bdat"] if target.chunk else []
    to = ["--port", str(target.port), "--from", SENDER, "--to", target.to, *spread]
    return [str(program("load")), *work.load_arguments(), *to], None
