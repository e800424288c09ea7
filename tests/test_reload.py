"""A server that is steered while it serves: real processes in both modes."""

import json
import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from crash.kill_rig import USER, prepared, until

from fastsmtp_bench.process import alive, tree
from fastsmtp_bench.served import Served, free_port

pytestmark = pytest.mark.slow
MORE = '[domains."other.test"]\naliases = { postmaster = ["user@example.test"] }\n'


@pytest.fixture(params=["one", "split"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    mode: Literal["one", "split"] = request.param
    yield from running(prepared(tmp_path, mode=mode))


@pytest.fixture
def split(tmp_path: Path) -> Iterator[Served]:
    yield from running(prepared(tmp_path, mode="split"))


def running(fresh: Served) -> Iterator[Served]:
    fresh.start()
    until(fresh.ready, "ready")
    yield fresh
    if fresh.process is not None and fresh.process.poll() is None:
        fresh.kill()


def change(of: Served, old: str, new: str) -> None:
    text = of.configuration.read_text()
    assert old in text
    of.configuration.write_text(text.replace(old, new))


def add(to: Served, text: str) -> None:
    to.configuration.write_text(to.configuration.read_text() + text)


def status(of: Served) -> dict[str, Any]:
    return dict(json.loads(of.command("status", "--json")))


def by_role(of: Served, role: str) -> list[dict[str, Any]]:
    return [row for row in status(of)["processes"] if row["role"] == role]


def verdict(of: Served, recipient: str, port: int = 0) -> int:
    """The code of RCPT."""
    with smtplib.SMTP("127.0.0.1", port or of.port, timeout=10) as client:
        client.ehlo("client.test")
        client.mail("a@example.org")
        return client.rcpt(recipient)[0]


def sent(to: Served) -> None:
    with smtplib.SMTP("127.0.0.1", to.port, timeout=10) as client:
        client.sendmail("a@example.org", [USER], "Subject: hi\r\n\r\nhi\r\n")


def listed(of: Served) -> int:
    return len(of.command("mail", "list", USER, "--json").splitlines())


def sample(of: Served, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", of.read_metrics(), re.MULTILINE)
    assert found, name
    return float(found[1])


def test_a_new_domain_is_taken_without_a_restart(served: Served) -> None:
    assert verdict(served, "postmaster@other.test") == 550
    before = sample(served, "fastsmtp_config_last_reload_success_timestamp_seconds")
    add(served, MORE)
    served.command("reload")
    assert verdict(served, "postmaster@other.test") == 250
    assert sample(served, "fastsmtp_config_last_reload_successful") == 1
    name = "fastsmtp_config_last_reload_success_timestamp_seconds"
    assert sample(served, name) > before
    with smtplib.SMTP("127.0.0.1", served.port) as client:
        client.sendmail("a@example.org", ["postmaster@other.test"], "\r\nhi\r\n")
    until(lambda: listed(served) == 1, "the keeper knows the domain too")
    served.stop()
    assert served.process is not None
    assert served.process.returncode == 0


def test_a_wrong_file_leaves_everything_as_it_was(served: Served) -> None:
    good = served.configuration.read_text()
    before = [row["pid"] for row in status(served)["processes"]]
    change(served, "listen =", "lissen =")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        served.command("reload")
    assert failed.value.returncode == 2
    assert "did you mean listen?" in failed.value.stderr
    assert "the configuration in use stays" in failed.value.stderr
    assert "Traceback" not in failed.value.stderr
    assert sample(served, "fastsmtp_config_last_reload_successful") == 0
    assert "configuration refused" in served.log.read_text()
    assert [row["pid"] for row in status(served)["processes"]] == before
    assert not status(served)["config_good"]
    sent(served)
    served.configuration.write_text(good)
    os.kill(served.pid, signal.SIGHUP)
    name = "fastsmtp_config_last_reload_successful"
    until(lambda: sample(served, name) == 1, "it is mended by a signal")


def test_what_needs_a_restart_is_named(served: Served) -> None:
    add(served, "[store]\nmap_size = '2 GiB'\n")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        served.command("reload")
    assert failed.value.returncode == 1
    assert "cannot change while serving; restart" in failed.value.stderr
    assert "store" in failed.value.stderr
    sent(served)


def test_listeners_come_and_go(served: Served) -> None:
    port = free_port()
    change(
        served,
        f'listen = ["127.0.0.1:{served.port}"]',
        f'listen = ["127.0.0.1:{served.port}", "127.0.0.1:{port}"]',
    )
    served.command("reload")
    assert verdict(served, USER, port) == verdict(served, USER) == 250
    change(served, f', "127.0.0.1:{port}"', "")
    served.command("reload")
    assert verdict(served, USER) == 250

    def closed() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return True
        return False

    until(closed, "nobody listens there any more")


def test_a_listener_that_cannot_be_bound_is_said(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = f'"127.0.0.1:{served.port}"'
        change(served, listen, f'{listen}, "127.0.0.1:{port}"')
        with pytest.raises(subprocess.CalledProcessError) as failed:
            served.command("reload")
    assert "another process listens there" in failed.value.stderr
    sent(served)


def test_a_session_under_way_is_finished(served: Served) -> None:
    client = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    lines = client.makefile("rb")
    assert lines.readline().startswith(b"220")
    client.sendall(b"HELO c\r\nMAIL FROM:<a@example.org>\r\n")
    assert lines.readline().startswith(b"250")
    assert lines.readline().startswith(b"250")
    served.command("reload")
    sent(served)
    client.sendall(b"RCPT TO:<%s>\r\nDATA\r\n" % USER.encode())
    assert lines.readline().startswith(b"250")
    assert lines.readline().startswith(b"354")
    client.sendall(b"Subject: x\r\n\r\nhi\r\n.\r\n")
    assert lines.readline().startswith(b"250")
    assert lines.readline().startswith(b"421")
    assert lines.readline() == b""
    until(lambda: status(served)["connections"] == 0, "the old one is left")
    until(lambda: listed(served) == 2, "both are there")


def test_the_number_of_receivers_changes(split: Served) -> None:
    change(split, 'mode = "split"', 'mode = "split"\nreceivers = 3')
    first = by_role(split, "receive")[0]["pid"]
    split.command("reload")
    until(lambda: not alive(first), "the old one has gone")
    assert len(by_role(split, "receive")) == 3
    for _ in range(10):
        sent(split)
    change(split, "receivers = 3", "receivers = 1")
    split.command("reload")
    until(lambda: len(by_role(split, "receive")) == 1, "two have gone")
    sent(split)
    until(lambda: listed(split) == 11, "nothing is lost")


def test_counters_outlive_a_reload_and_gauges_do_not_double(split: Served) -> None:
    for _ in range(5):
        sent(split)
    name = 'fastsmtp_smtp_messages_total{listener="smtp",result="accepted"}'
    for _ in range(3):
        split.command("reload")
        assert sample(split, name) == 5
    until(lambda: len(by_role(split, "receive")) == 1, "the old ones have gone")
    assert sample(split, name) == 5
    assert sample(split, 'fastsmtp_smtp_connections{listener="smtp"}') == 0
    assert sample(split, 'fastsmtp_queue_messages{state="incoming"}') == 0
    assert sample(split, 'fastsmtp_worker_restarts_total{role="receive"}') == 0
    assert sample(split, 'fastsmtp_worker_restarts_total{role="keep"}') == 0


def test_a_receiver_that_cannot_serve_is_taken_back(split: Served) -> None:
    """The new processes cannot even be started: everything stays."""
    before = by_role(split, "receive")[0]["pid"]
    shadow = split.home / "fastsmtp"
    pages = split.home / "data" / "run" / "counters"
    hidden = shadow.with_suffix(".hidden")
    pages.rename(hidden)  # a worker that begins cannot open its counters
    try:
        with pytest.raises(subprocess.CalledProcessError) as failed:
            split.command("reload")
    finally:
        hidden.rename(pages)
    assert "the configuration in use stays" in failed.value.stderr
    sent(split)
    assert by_role(split, "receive")[0]["pid"] == before
    until(split.ready, "the keeper is back")
    until(lambda: listed(split) == 1, "and takes in the mail")


def test_drain_sends_clients_away_and_undo_takes_mail_again(served: Served) -> None:
    idle = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    assert idle.recv(512).startswith(b"220")
    assert "no client is left" in served.command("drain", "--wait", "10")
    assert idle.recv(512).startswith(b"421")
    assert not served.ready()
    with pytest.raises(smtplib.SMTPConnectError, match="421"):
        sent(served)
    assert status_code(served) == 1
    served.command("user", "list")
    served.command("drain", "--undo")
    until(served.ready, "ready again")
    sent(served)
    assert status_code(served) == 0


def status_code(of: Served) -> int:
    words = [sys.executable, "-m", "fastsmtp.cli", "status", "-c", of.configuration]
    return subprocess.run(words, capture_output=True).returncode


def test_a_drained_server_stays_drained_when_it_is_reloaded(served: Served) -> None:
    served.command("drain")
    served.command("reload")
    with pytest.raises(smtplib.SMTPConnectError, match="421"):
        sent(served)
    served.command("drain", "--undo")
    sent(served)


def test_without_a_server_the_verbs_say_so(tmp_path: Path) -> None:
    server = prepared(tmp_path)
    for verb in ("reload", "drain", "status"):
        with pytest.raises(subprocess.CalledProcessError) as failed:
            server.command(verb)
        assert failed.value.returncode == 1
        assert "no server runs" in failed.value.stderr


def test_a_killed_server_leaves_a_socket_that_the_next_one_replaces(
    served: Served,
) -> None:
    served.kill()
    served.start()
    assert status(served)["state"] == "serving"


def test_an_operation_under_way_outlives_a_reload(split: Served) -> None:
    """An import is one: the keeper that runs it ends when it is done."""
    mbox = split.home / "some.mbox"
    letter = (
        b"From a@b Mon Jan  1 00:00:00 2024\nSubject: x\n\n" + b"x" * 5000 + b"\n\n"
    )
    mbox.write_bytes((letter + b"\n") * 2000)
    words = [sys.executable, "-m", "fastsmtp.cli", "mail", "import"]
    with subprocess.Popen(
        [*words, "-c", split.configuration, USER, mbox], stderr=subprocess.PIPE
    ) as importing:
        until(lambda: listed(split) > 0, "it has begun")
        split.command("reload")
        _, err = importing.communicate()
    count = listed(split)
    assert importing.returncode == 0 or f"{count} messages had been imported" in (
        err.decode()
    )
    assert tree(split.pid)
