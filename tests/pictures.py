"""python tests/pictures.py FOLDER [SECONDS]: draw docs/pictures anew.

A server under load whose next hops are down for SECONDS (120), and then slow, watched
by a real Prometheus: the dashboards as `grafana.pictures` draws them, `fastsmtp top`
and `queue top` as a terminal shows them, and /status in Chromium. Needs Debian's
prometheus and chromium, and matplotlib.
"""

from __future__ import annotations

import contextlib
import html
import os
import pty
import re
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watched import Watched, opened, until, watched

from grafana import pictures

COLORS = {
    "31": "#f2495c",
    "32": "#73bf69",
    "33": "#ff9830",
    "34": "#5794f2",
    "35": "#b877d9",
    "91": "#ff7383",
    "92": "#96d98d",
    "93": "#fade2a",
}
TERMINAL = """<!doctype html><meta charset=utf-8><style>
body {{ background: #111217; color: #ccccdc; margin: 14px }}
pre {{ font: 14px/19px "DejaVu Sans Mono", monospace; margin: 0 }}
</style><pre><span style="color:#73bf69">$</span> {command}
{text}</pre>"""
RATES = (15, 30, 50, 60, 50, 40, 45, 60, 50, 35, 30, 40, 50, 40, 30, 20, 15, 25)
"""Messages a second to other servers, and as many to ours, in turn."""
SLOW = {"rule": [{"when": "body", "match": "@", "delay": 0.12}]}


def colored(text: str) -> str:
    """ECMA-48 colours as HTML."""
    found = html.escape(re.sub(r"\x1b\[[HJ]", "", text).replace("\r", ""))
    for code, color in COLORS.items():
        found = found.replace(f"\x1b[{code}m", f'<span style="color:{color}">')
    found = found.replace("\x1b[1m", '<span style="color:#fff;font-weight:bold">')
    found = found.replace("\x1b[2m", '<span style="color:#888">')
    return found.replace("\x1b[0m", "</span>")


def on_a_terminal(command: list[str]) -> str:
    """What a program prints when it prints on a terminal."""
    master, slave = pty.openpty()
    done = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave)
    os.close(slave)
    told = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # EIO: the program has ended
            break
        told += piece
    os.close(master)
    done.wait()
    return told.decode()


def photographed(url: str, to: Path, size: tuple[int, int]) -> None:
    width, height = size
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu"),
            *("--hide-scrollbars", f"--window-size={width},{height}"),
            *(f"--screenshot={to}", url),
        ],
        check=True,
        capture_output=True,
    )


def terminal(story: Watched, words: str, to: Path, size: tuple[int, int]) -> None:
    """A picture of what a verb shows."""
    fastsmtp = str(Path(sys.executable).parent / "fastsmtp")
    place = ["-c", str(story.server.configuration)]
    text = on_a_terminal([fastsmtp, *words.split(), *place])
    page = TERMINAL.format(
        command=f"fastsmtp {words.removesuffix(' --once')}", text=colored(text)
    )
    with tempfile.NamedTemporaryFile("w", suffix=".html") as file:
        file.write(page)
        file.flush()
        photographed(f"file://{file.name}", to, size)


@contextmanager
def busy(story: Watched) -> Iterator[None]:
    """Load and people until this is left."""
    over = threading.Event()

    def load() -> None:
        n = 0
        while not over.is_set():
            story.load(RATES[n % len(RATES)], 12)
            n += 1

    def people() -> None:
        n = 0
        while not over.wait(3):
            with contextlib.suppress(smtplib.SMTPException, OSError):
                story.people(forgetful=n % 20 == 5)
            n += 1

    threads = [threading.Thread(target=each) for each in (load, people)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def main(folder: str, seconds: str = "120") -> None:
    to = Path(folder)
    with (
        tempfile.TemporaryDirectory() as home,
        watched(Path(home), "20 s") as (story, prometheus),
    ):
        begun = time.time()

        def depth() -> float:
            return prometheus.total("fastsmtp_queue_messages")

        with busy(story):
            threading.Event().wait(float(seconds))
            terminal(story, "top --once", to / "top.png", (960, 580))
            terminal(story, "queue top --once", to / "queue-top.png", (960, 140))
            with opened(story, SLOW):
                story.server.command("queue", "retry", "--all", "--yes")
                print(f"next hops are up again, {time.time() - begun:.0f} s")
                most = depth()
                until(lambda: 0 <= depth() < most / 2, 300, "half of the queue")
                address = f"http://127.0.0.1:{story.server.metrics_port}/status"
                photographed(address, to / "status.png", (1180, 1330))
                until(lambda: 0 <= depth() < most / 20, 300, "a short queue")
                threading.Event().wait(10)
                url = f"http://127.0.0.1:{prometheus.port}"
                pictures.main(url, str(to), str(time.time() - begun))


if __name__ == "__main__":
    main(*sys.argv[1:])
