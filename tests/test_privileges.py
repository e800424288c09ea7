"""Started as root: ports first, then nobody of importance, for good; and no secrets."""

import contextlib
import os
import pwd
import re
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.kill_rig import USER, prepared, until

from fastsmtp_bench.process import tree
from fastsmtp_bench.served import Served

pytestmark = [pytest.mark.slow, pytest.mark.root]
NOBODY = pwd.getpwnam("nobody")
SECRET = "s3cret-that-nobody-may-see"


def runs_python(user: int) -> bool:
    try:
        subprocess.run([sys.executable, "-c", ""], user=user, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def low_port() -> int:
    """A free port that needs root."""
    import socket

    for port in range(1000, 900, -1):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    pytest.skip("no free port below 1024")


@pytest.fixture(params=["one", "split"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """Root's configuration and folders; `user` says who it serves as."""
    if os.getuid():
        pytest.skip("needs root")
    if request.param == "split" and not runs_python(NOBODY.pw_uid):
        pytest.skip("nobody may not run this Python")
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(above.stat().st_mode | 0o055)
    fresh = prepared(tmp_path / "home", mode=request.param)
    fresh.home.chmod(0o755)
    shutil.rmtree(fresh.home / "data")
    fresh.port = low_port()
    fresh.configure()
    (fresh.home / "data").rmdir()  # the server makes it, for its user
    text = fresh.configuration.read_text()
    fresh.configuration.write_text('user = "nobody"\n' + text)
    yield fresh
    if fresh.process is not None and fresh.process.poll() is None:
        fresh.kill()


def field(pid: int, name: str) -> list[str]:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\t(.*)$", status, re.MULTILINE)
    assert found
    return found[1].split()


def test_every_process_is_the_user_for_good(served: Served) -> None:
    served.start()
    until(served.ready, "ready")
    for pid in tree(served.pid):
        assert field(pid, "Uid") == [str(NOBODY.pw_uid)] * 4
        assert field(pid, "Gid") == [str(NOBODY.pw_gid)] * 4
        assert set(field(pid, "Groups")) <= {str(NOBODY.pw_gid)}
        assert {int(field(pid, cap)[0], 16) for cap in ("CapPrm", "CapEff")} == {0}
    assert field(served.pid, "NoNewPrivs") == ["1"]
    served.command("user", "add", USER, "--generate")
    served.command("reload")
    with smtplib.SMTP("127.0.0.1", served.port, timeout=10) as client:
        client.sendmail("a@example.org", [USER], "Subject: x\r\n\r\nx\r\n")
    served.stop()
    data = served.home / "data"
    for path in (data, *data.rglob("*")):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == NOBODY[2:4], path
        assert not status.st_mode & 0o077, f"{path}: {status.st_mode:o}"


def test_a_new_low_port_needs_a_restart_and_is_said(served: Served) -> None:
    served.start()
    until(served.ready, "ready")
    other = low_port()
    text = served.configuration.read_text()
    listen = f'"127.0.0.1:{served.port}"'
    more = text.replace(listen, f'{listen}, "127.0.0.1:{other}"')
    served.configuration.write_text(more)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        served.command("reload")
    assert "gave up root; restart the server" in failed.value.stderr
    assert served.greets()
    served.stop()


def test_nothing_of_the_configuration_stands_in_ps_or_in_the_log(
    served: Served,
) -> None:
    text = served.configuration.read_text()
    banner = f'[smtp]\nbanner = "{SECRET}"'
    served.configuration.write_text(text.replace("[smtp]", banner))
    served.start()
    until(served.ready, "ready")
    served.command("user", "add", USER, "--password-stdin", given=SECRET + "\n")
    served.command("reload")
    for pid in tree(served.pid):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):  # the old receiver ends meanwhile
                assert SECRET.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    served.stop()
    assert SECRET not in served.log.read_text()


def test_without_root_another_user_cannot_be_had(tmp_path: Path) -> None:
    if os.getuid() or not runs_python(NOBODY.pw_uid):
        pytest.skip("needs root, and a Python that nobody may run")
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(above.stat().st_mode | 0o055)
    file = tmp_path / "fastsmtp.toml"
    file.write_text(
        'user = "daemon"\nhostname = "mx.example.test"\ndata = "data"\n'
        '[smtp]\nlisten = ["127.0.0.1:0"]\n[domains."example.test"]\n'
    )
    file.chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-m", "fastsmtp.cli", "serve", "-c", str(file)],
        user=NOBODY.pw_uid,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1
    assert "only root can become this user" in done.stderr
