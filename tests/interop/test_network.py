"""Mail of a user for other domains, through a private network of loopback addresses:
msmtp submits it, a name server says where it goes, a Postfix and an Exim take it, and
what they refuse is in the mailbox of the sender.
"""

from __future__ import annotations

import mailbox
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from crash.kill_rig import until
from dsn import Dsn, read
from interop.private_dns import private_dns
from interop.test_sending import PostfixBox, Receiving
from interop.test_submission import need, run
from users import ALICE, PASSWORD, Users

from fastsmtp_bench import peers
from fastsmtp_bench.postfix import usable

pytestmark = pytest.mark.slow
PORT = 25  # where MX hosts listen; on addresses that are this process's alone
BODY = "Hello,\n.\n..two dots\n" + "x" * 300 + "\n"


class Network:
    """A server of ours with users, and two hosts that the DNS names."""

    def __init__(self, us: Users, postfix: PostfixBox, exim: Receiving) -> None:
        self.us = us
        self.postfix = postfix
        self.exim = exim

    def inbox(self, folder: Path) -> list[bytes]:
        target = folder / "export.mbox"
        target.unlink(missing_ok=True)
        self.us.command("mail", "export", ALICE, str(target))
        return [mail.as_bytes() for mail in mailbox.mbox(target)]


def address(last: int) -> str:
    """Of loopback, and nobody else's."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 16) % 64}.{pid >> 8 & 255}.{pid & 254 | last}"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    if why := usable():
        pytest.skip(why)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp())
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        homes = {name: folder / name for name in ("postfix", "exim")}
        for home in homes.values():
            home.mkdir()
        there = {"postfix": address(0), "exim": address(1)}
        try:
            postfix = PostfixBox(
                homes["postfix"], "", "postfix.test", (there["postfix"], PORT)
            )
            exim = Receiving(homes["exim"], there["exim"], PORT)
            zone = {}
            for name, place in there.items():
                zone[f"{name}.test"] = [f"MX 10 mx.{name}.test."]
                zone[f"mx.{name}.test"] = [f"A {place}"]
            names = stack.enter_context(private_dns(zone))
        except (peers.Unavailable, OSError) as error:
            pytest.skip(str(error))
        for server in (postfix, exim):
            stack.callback(server.stop)
            server.start()
        peers.answers(PORT, host=postfix.address)
        us = Users(folder / "us", "split", f'[dns]\nservers = ["{names}"]\n')
        stack.callback(us.stop)
        us.start()
        yield Network(us, postfix, exim)


def submit(us: Users, folder: Path, *to: str) -> None:
    """As a person does it who has msmtp in place of sendmail."""
    settings = folder / "msmtprc"
    settings.touch(mode=0o600)
    settings.write_text(
        f"account default\nhost 127.0.0.1\nport {us.clear}\nfrom {ALICE}\n"
        f"user {ALICE}\npassword {PASSWORD}\nauth plain\ntls on\ntls_certcheck off\n"
    )
    message = f"From: Alice <{ALICE}>\nTo: {', '.join(to)}\nSubject: Hello\n\n{BODY}"
    done = run(need("msmtp"), "-C", str(settings), *to, given=message)
    assert done.returncode == 0, done.stderr


def test_it_arrives_and_what_is_refused_comes_back(
    network: Network, tmp_path: Path
) -> None:
    hosts = ("postfix", "exim")
    wanted = [f"{name}@{host}.test" for host in hosts for name in ("bob", "nobody")]
    submit(network.us, tmp_path, *wanted)
    until(lambda: len(network.postfix.bodies()) == 1, network.postfix.log())
    until(lambda: len(network.inbox(tmp_path)) == 2, "two notices")
    network.exim.send()
    for bodies in (network.postfix.bodies(), network.exim.bodies()):
        (kept,) = bodies
        assert kept.decode().endswith(f"\n\n{BODY}")
    assert network.us.command("queue", "list") == "nothing waits\n"
    found: dict[str, tuple[Dsn, dict[str, str]]] = {}
    for octets in network.inbox(tmp_path):
        notice = read(octets.replace(b"\n", b"\r\n"))
        (group,) = notice.recipients
        found[group["Final-Recipient"]] = (notice, group)
    said = {
        "postfix": ("5.1.1", "smtp; 550 5.1.1 <nobody@postfix.test>: Recipient"),
        "exim": ("5.0.0", "smtp; 550 no such user"),
    }
    for host in hosts:
        notice, group = found.pop(f"rfc822; nobody@{host}.test")
        status, diagnostic = said[host]
        assert (group["Action"], group["Status"]) == ("failed", status)
        assert group["Diagnostic-Code"].startswith(diagnostic)
        assert group["Remote-MTA"].startswith(f"dns; mx.{host}.test")
        assert notice.mail["To"] == ALICE
        assert f"nobody@{host}.test" in notice.human
        assert notice.returned["Subject"] == "Hello" or "Hello" in str(notice.returned)
    assert not found


def test_it_went_over_tls(network: Network, tmp_path: Path) -> None:
    """Both offer it; nobody has to know their certificates."""
    submit(network.us, tmp_path, "bob@postfix.test", "bob@exim.test")
    until(lambda: network.us.command("queue", "list") == "nothing waits\n", "")
    network.exim.send()
    for home in ("boxes/all/new", "box/new"):
        peer = network.exim if home == "box/new" else network.postfix
        newest = max((peer.home / home).glob("*"), key=lambda f: f.stat().st_mtime_ns)
        assert "ESMTPS" in newest.read_text().partition("\n\n")[0]
