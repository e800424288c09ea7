"""/status and `fastsmtp top` of a whole server, as a person meets them."""

import json
import shutil
import smtplib
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from watched import until

from fastsmtp_bench.served import MANY, Served, free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["one", "split"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("watching")
    down = '[relay_domains."far.test"]\nnext_hop = "smtp://127.0.0.1:1"\n'
    made = Served(home, request.param, MANY, down)
    made.configure()
    text = made.configuration.read_text()
    listen = f'listen = "127.0.0.1:{made.metrics_port}"\n'
    text = text.replace(listen, f'{listen}token_file = "token"\n')
    made.configuration.write_text(text)
    (home / "token").write_text("correct horse\n")
    made.start()
    with smtplib.SMTP("127.0.0.1", made.port) as client:
        for _ in range(7):
            client.sendmail("a@near.test", "b@far.test", "Subject: x\r\n\r\nx\r\n")
    until(lambda: len(queued(made)) == 7, 20, "the queue")
    yield made
    made.stop()


def queued(server: Served) -> list[str]:
    return server.command("queue", "list", "--json").splitlines()


def url(server: Served, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.metrics_port}/status"


def test_the_page_shows_how_many_wait(server: Served) -> None:
    with urllib.request.urlopen(url(server), timeout=10) as answer:
        html = answer.read().decode()
        assert answer.headers["Content-Security-Policy"].startswith(
            "default-src 'none'"
        )
    assert "<title>mx.example.test: 7 in the queue</title>" in html
    assert "far.test" in html
    assert "taken" in html
    with urllib.request.urlopen(url(server) + "/6h", timeout=10) as answer:
        assert "The last 6 h" in answer.read().decode()


def test_another_name_needs_the_token(server: Served) -> None:
    request = urllib.request.Request(url(server), headers={"Host": "mx.example.test"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 401
    request.add_header("Authorization", "Bearer correct horse")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def test_top_says_the_same(server: Served) -> None:
    words = ("top", "--once", "--every", "0.2")
    found = json.loads(server.command(*words, "--json"))
    assert sum(found["states"].values()) == found["ages"]["1m"] == 7
    assert found["destinations"]["far.test"] == 7
    assert {w["role"] for w in found["workers"]} >= (
        {"all"} if server.mode == "one" else {"receive", "keep", "supervise", "send"}
    )
    text = server.command(*words)
    assert text.startswith("7 in the queue")
    assert "far.test" in text


def test_a_browser_draws_it(server: Served, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser is installed (Debian: chromium)")
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,1400"),
            *(f"--screenshot={tmp_path / 'page.png'}", url(server, "localhost")),
        ],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    picture = (tmp_path / "page.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000  # an empty page has 5,000 octets


def test_top_without_a_server(tmp_path: Path) -> None:
    none = Served(tmp_path, "one", MANY, "")
    none.metrics_port = free_port()
    none.configure()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        none.command("top", "--once")
    assert "no server runs with" in caught.value.stderr
