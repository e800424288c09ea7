"""`fastsmtp serve` as processes, in both modes: from the first mail to every end."""

import os
import re
import signal
import smtplib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection, create_server, socket
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from crash.kill_rig import USER, prepared, until, workers

from fastsmtp import outset, server
from fastsmtp.blocks import CELLS
from fastsmtp.config import Config, load
from fastsmtp.errors import StoreUnavailable
from fastsmtp.pages import Pages
from fastsmtp.store.lmdb import lock
from fastsmtp_bench.process import alive, tree
from fastsmtp_bench.served import Served, free_port

BODY = "Subject: hello\r\n\r\nhi\r\n"
ENDS = 10.0  # seconds in which a server must be gone

# before it serves


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "fastsmtp.toml"
    path.write_text(
        'hostname = "mx.example.test"\ndata = "data"\n'
        '[smtp]\nlisten = ["127.0.0.1:0"]\n[metrics]\nlisten = ""\n'
        '[domains."example.test"]\n'
    )
    return load(path, {})


def test_a_folder_that_cannot_be_made_is_named(config: Config) -> None:
    config.data.write_text("a file")
    with pytest.raises(OSError, match="data"):
        server.prepare(config, None)


def test_a_run_folder_too_deep_for_a_socket_is_said_early(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["x" * 40] * 4)
    config = cast(Config, SimpleNamespace(data=tmp_path / "data", run=deep))
    with pytest.raises(OSError, match="set `run`"):
        server.prepare(config, None)


def test_a_claimed_data_directory_is_refused(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.02)
    with lock(config.data), pytest.raises(StoreUnavailable, match="in use by"):
        server.claim(config.data)


def test_a_full_disk_at_the_counters_names_the_file(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    server.prepare(config, None)
    with pytest.raises(OSError, match="counters"):
        outset.counting(config, 1)


def test_no_door_stays_open_when_one_cannot_be_opened(config: Config) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        first = f"127.0.0.1:{free_port()}"
        second = f"127.0.0.1:{taken.getsockname()[1]}"
        config = cast(
            Config,
            SimpleNamespace(
                listeners={"smtp": [first], "submission": [second]},
                metrics=SimpleNamespace(listen=""),
            ),
        )
        with pytest.raises(OSError, match="another process listens there"):
            server.open_doors(config, 1, [])
    create_server(("127.0.0.1", int(first.rpartition(":")[2]))).close()


# real processes


@pytest.fixture(params=["one", "split"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    mode: Literal["one", "split"] = request.param
    fresh = prepared(tmp_path, mode=mode)
    fresh.start()
    until(fresh.ready, "ready")
    yield fresh
    if fresh.process is not None and fresh.process.poll() is None:
        fresh.kill()


@pytest.fixture
def split(tmp_path: Path) -> Iterator[Served]:
    fresh = prepared(tmp_path, mode="split")
    fresh.start()
    until(fresh.ready, "ready")
    yield fresh
    if fresh.process is not None and fresh.process.poll() is None:
        fresh.kill()


def send(to: Served, recipient: str = USER) -> str:
    """One mail; the queue id of its 250."""
    with smtplib.SMTP("127.0.0.1", to.port, timeout=10) as client:
        client.ehlo("client.test")
        client.mail("a@example.org")
        code, text = client.rcpt(recipient)
        if code != 250:
            raise smtplib.SMTPRecipientsRefused({recipient: (code, text)})
        code, text = client.data(BODY)
        assert code == 250, text
        return text.decode().split()[-1]


def value(of: Served, family: str) -> float:
    """The sum of all series of a family."""
    found = re.findall(
        rf"^{family}(?:\{{.*\}})? (\S+)$", of.read_metrics(), re.MULTILINE
    )
    return sum(float(number) for number in found)


def listed(of: Served) -> int:
    return len(of.command("mail", "list", USER, "--json").splitlines())


def refuses_or_421(port: int) -> bool:
    try:
        with create_connection(("127.0.0.1", port), timeout=5) as client:
            return client.recv(512).startswith(b"421")
    except OSError:
        return True


def in_transaction(port: int) -> tuple[socket, Any]:
    client = create_connection(("127.0.0.1", port), timeout=10)
    lines = client.makefile("rb")
    assert lines.readline().startswith(b"220")
    client.sendall(b"HELO c\r\nMAIL FROM:<a@example.org>\r\n")
    assert lines.readline().startswith(b"250")
    assert lines.readline().startswith(b"250")
    return client, lines


def gone(group: list[int]) -> bool:
    return not any(alive(pid) for pid in group)


@pytest.mark.slow
def test_mail_accounts_and_a_clean_end(served: Served) -> None:
    ids = {send(served) for _ in range(20)}
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(served, "new@example.test")
    served.command("user", "add", "new@example.test", "--generate")
    send(served, "new@example.test")
    served.command("user", "remove", "new@example.test", "--yes")

    def refused() -> bool:
        try:
            send(served, "new@example.test")
        except smtplib.SMTPRecipientsRefused:
            return True
        return False

    until(refused, "the removed account is refused")
    served.stop()
    assert served.process is not None
    assert served.process.returncode == 0
    assert len(ids) == 20
    assert listed(served) == 20
    served.command("verify")
    served.start()
    assert send(served) not in ids


@pytest.mark.slow
def test_draining_lets_transactions_finish_and_no_others(served: Served) -> None:
    group = tree(served.pid)
    idle = create_connection(("127.0.0.1", served.port), timeout=10)
    assert idle.recv(512).startswith(b"220")
    client, lines = in_transaction(served.port)
    os.kill(served.pid, signal.SIGTERM)
    assert idle.recv(512).startswith(b"421 4.3.2")
    assert refuses_or_421(served.port)
    client.sendall(b"RCPT TO:<%s>\r\nDATA\r\n" % USER.encode())
    assert lines.readline().startswith(b"250")
    assert lines.readline().startswith(b"354")
    client.sendall(BODY.encode() + b".\r\n")
    assert lines.readline().startswith(b"250")
    assert lines.readline().startswith(b"421")
    assert served.process is not None
    assert served.process.wait(ENDS) == 0
    assert gone(group)
    assert listed(served) == 1


@pytest.mark.slow
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_at_once(served: Served, first: int) -> None:
    group = tree(served.pid)
    _client, lines = in_transaction(served.port)  # which holds the drain up
    os.killpg(served.pid, first)  # as a terminal, or systemd: every process has it
    until(lambda: refuses_or_421(served.port), "it drains")
    assert not gone(group)
    os.kill(served.pid, signal.SIGTERM)
    assert served.process is not None
    assert served.process.wait(2) == 1
    assert gone(group)
    assert lines.readline() == b""


@pytest.mark.slow
def test_a_signal_to_all_processes_drains_them_all(split: Served) -> None:
    client, lines = in_transaction(split.port)
    for _ in range(3):  # workers do not count signals
        for pid in workers(split).values():
            os.kill(pid, signal.SIGTERM)
    os.killpg(split.pid, signal.SIGTERM)
    client.sendall(b"RCPT TO:<%s>\r\nDATA\r\n" % USER.encode())
    assert lines.readline().startswith(b"250")
    assert lines.readline().startswith(b"354")
    client.sendall(BODY.encode() + b".\r\n")
    assert lines.readline().startswith(b"250")
    assert split.process is not None
    assert split.process.wait(ENDS) == 0
    assert listed(split) == 1


@pytest.mark.slow
@pytest.mark.parametrize("draining", [False, True])
def test_without_its_supervisor_a_server_ends_and_another_starts(
    split: Served, draining: bool
) -> None:
    last = send(split)
    group = tree(split.pid)
    client, _lines = in_transaction(split.port)
    if draining:
        os.kill(split.pid, signal.SIGTERM)
        until(lambda: refuses_or_421(split.port), "it drains")
    os.kill(split.pid, signal.SIGKILL)
    assert split.process is not None
    split.process.wait(5)
    split.start()  # waits for the lock and the ports; the old one may still greet
    until(lambda: gone(group), "what is left of the old one ends")
    until(split.greets, "the other one serves")
    client.close()
    assert send(split) != last
    split.stop()
    assert listed(split) == 2


@pytest.mark.slow
@pytest.mark.parametrize("role", ["receive", "keep"])
def test_counters_do_not_go_back_when_a_worker_dies(split: Served, role: str) -> None:
    family = "fastsmtp_smtp_messages_total"
    for _ in range(5):
        send(split)
    until(lambda: value(split, family) == 5, "counted")
    spent = value(split, "process_cpu_seconds_total")
    assert spent > 0
    victim = workers(split)[role]
    os.kill(victim, signal.SIGKILL)
    until(lambda: workers(split).get(role, victim) != victim, "replaced")
    assert value(split, family) == 5
    assert value(split, "process_cpu_seconds_total") >= spent
    until(split.ready, "ready again")
    send(split)
    until(lambda: value(split, family) == 6, "the sum goes on")
    restarts = f'fastsmtp_worker_restarts_total{{role="{role}"}} 1'
    assert restarts in split.read_metrics()
    split.stop()
    assert listed(split) == 6


@pytest.mark.slow
def test_metrics_are_sums_over_all_processes(tmp_path: Path) -> None:
    served = prepared(tmp_path, mode="split", more="receivers = 3")
    served.start()
    try:
        until(served.ready, "ready")
        ids = {send(served) for _ in range(30)}
        family = "fastsmtp_smtp_messages_total"
        until(lambda: value(served, family) == 30, "counted")
        pages = Pages.open(tmp_path / "data" / "run" / outset.PAGES, CELLS)
        receivers = [p.slot for p in pages.live() if p.role == "receive"]
        busy = [slot for slot in receivers if any(pages.read(slot))]
        assert len(receivers) == len(busy) == 3
        assert value(served, "fastsmtp_workers") == 6  # and who keeps, sends, watches
        assert len(ids) == 30
        served.stop()
        assert listed(served) == 30
    finally:
        if served.process is not None and served.process.poll() is None:
            served.kill()


def health(of: Served, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{of.metrics_port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["one", "split"])
def test_trouble_of_the_store_is_why_it_is_not_ready(tmp_path: Path, mode: str) -> None:
    served = prepared(tmp_path, mode=mode, more='[store]\nmin_free = "900 TiB"')
    served.start()
    full = "the disk is nearly full"
    try:
        until(lambda: full in health(served, "/readyz")[1], "the reason")
        assert health(served, "/readyz")[0] == 503
        assert health(served, "/healthz") == (200, "ok\n")
        served.stop()
    finally:
        if served.process is not None and served.process.poll() is None:
            served.kill()


@pytest.mark.slow
def test_another_server_on_the_same_data_is_refused(served: Served) -> None:
    words = [sys.executable, "-m", "fastsmtp.cli", "serve", "-c"]
    done = subprocess.run(
        [*words, str(served.configuration)], text=True, capture_output=True, timeout=20
    )
    assert done.returncode == 1
    assert "is in use by a running fastsmtp" in done.stderr
    assert "Traceback" not in done.stderr
    send(served)


def runs_python(user: int) -> bool:
    try:
        subprocess.run([sys.executable, "-c", ""], user=user, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.parametrize("mode", ["one", "split"])
def test_root_serves_as_the_owner_of_the_data(tmp_path: Path, mode: str) -> None:
    if os.getuid():
        pytest.skip("needs root")
    owner = 65534
    if mode == "split" and not runs_python(owner):
        pytest.skip("nobody may not run this Python")
    served = prepared(tmp_path, mode=mode)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, owner, owner)
    for above in tmp_path.parents[:-2]:
        above.chmod(above.stat().st_mode | 0o011)
    served.start()
    try:
        until(served.ready, "ready")
        for pid in tree(served.pid):
            status = Path(f"/proc/{pid}/status").read_text()
            assert re.search(rf"^Uid:\t{owner}\t{owner}\t{owner}", status, re.MULTILINE)
        send(served)
        served.command("user", "add", "b@example.test", "--generate")
        assert value(served, "process_open_fds") > 0
        served.stop()
    finally:
        if served.process is not None and served.process.poll() is None:
            served.kill()
    owners = {p.lstat().st_uid for p in (tmp_path / "data").rglob("*")}
    assert owners == {owner}
