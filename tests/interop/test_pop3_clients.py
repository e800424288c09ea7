"""Real mail clients fetch mail by POP3 over TLS, as people have them set up.

What is not installed is unpacked from Debian's packages into a cache directory."""

from __future__ import annotations

import mailbox
import os
import poplib
import pty
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from certificate import client_context
from collectors import ALICE, PASSWORD, Letters

from fastsmtp_bench.peers import Unavailable, unpacked

pytestmark = pytest.mark.slow
COUNT = 20
PACKAGES = ["fetchmail", "mpop", "getmail6", "mutt"]
PACKAGES += ["libgsasl18", "libntlm0", "libgssglue1", "libtokyocabinet9"]
PACKAGES += ["libidn12", "libgpgme11"]
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Letters]:
    made = Letters(tmp_path / "server", "split", COUNT)
    made.start()
    yield made
    made.stop()


def need(name: str) -> tuple[str, dict[str, str]]:
    """A program, and the environment it runs in."""
    if found := shutil.which(name):
        return found, dict(os.environ)
    try:
        root = unpacked(f"usr/bin/{name}", "readers/root", PACKAGES)
    except Unavailable as why:
        pytest.skip(str(why))
    libraries = ":".join(str(root / library) for library in LIBRARIES)
    more = {
        "LD_LIBRARY_PATH": libraries,
        "PYTHONPATH": str(root / "usr/lib/python3/dist-packages"),
    }
    return str(root / "usr/bin" / name), dict(os.environ, **more)


def run(
    words: list[str], environment: dict[str, str], home: Path
) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    return subprocess.run(
        words,
        env=dict(environment, HOME=str(home)),
        text=True,
        capture_output=True,
        timeout=60,
    )


def fetched(folder: Path) -> list[str]:
    """The subjects of what came into a Maildir."""
    came = [message["Subject"] for message in mailbox.Maildir(folder, create=False)]
    return sorted(came, key=lambda subject: int(subject.split()[1]))


def maildir(folder: Path) -> Path:
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


EVERYTHING = [f"letter {n}" for n in range(1, COUNT + 1)]


def port(server: Letters, tls: str) -> int:
    return server.sealed if tls == "implicit" else server.clear


@pytest.mark.parametrize("tls", ["stls", "implicit"])
def test_poplib(server: Letters, tls: str) -> None:
    context = client_context()
    if tls == "implicit":
        client = poplib.POP3_SSL("127.0.0.1", server.sealed, context=context)
    else:
        client = poplib.POP3("127.0.0.1", server.clear)
        client.stls(context)
    client.user(ALICE)
    client.pass_(PASSWORD)
    assert client.stat()[0] == COUNT
    _, lines, octets = client.retr(3)
    assert lines[-4:] == [b"Hello 3", b".", b"..two", b".end"]
    assert octets == int(client.list(3).split()[2])
    client.dele(3)
    client.quit()
    assert len(server.there()) == COUNT - 1


@pytest.mark.parametrize("tls", ["stls", "implicit"])
@pytest.mark.parametrize("keep", [True, False])
def test_fetchmail(server: Letters, tmp_path: Path, tls: str, keep: bool) -> None:
    fetchmail, environment = need("fetchmail")
    out = tmp_path / "mbox"
    settings = tmp_path / "fetchmailrc"
    settings.touch(mode=0o600)
    how = "ssl" if tls == "implicit" else "sslproto TLS1.2+"
    settings.write_text(
        f"poll 127.0.0.1 protocol pop3 service {port(server, tls)} uidl\n"
        f'  user "{ALICE}" password "{PASSWORD}" {how} '
        f"sslcertfile {server.certificate} sslcommonname mx.example.test\n"
        f"  {'keep' if keep else 'nokeep'} fetchall\n"
        f'  mda "cat >> {out}"\n'
    )
    done = run([fetchmail, "-f", str(settings), "-v"], environment, tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.read_text().count("Subject: letter") == COUNT
    assert len(server.there()) == (COUNT if keep else 0)


@pytest.mark.parametrize("tls", ["stls", "implicit"])
@pytest.mark.parametrize("auth", ["user", "plain", "scram-sha-256"])
def test_mpop(server: Letters, tmp_path: Path, auth: str, tls: str) -> None:
    mpop, environment = need("mpop")
    folder = maildir(tmp_path / "mail")
    settings = tmp_path / "mpoprc"
    settings.touch(mode=0o600)
    settings.write_text(
        f"account default\nhost 127.0.0.1\nport {port(server, tls)}\n"
        f"user {ALICE}\npassword {PASSWORD}\nauth {auth}\ntls on\n"
        f"tls_starttls {'off' if tls == 'implicit' else 'on'}\ntls_certcheck off\n"
        f"delivery maildir {folder}\nkeep on\nuidls_file {tmp_path}/uidls\n"
    )
    for _ in range(2):
        done = run([mpop, "-C", str(settings)], environment, tmp_path / "home")
        assert done.returncode == 0, done.stdout + done.stderr
    assert fetched(folder) == EVERYTHING
    assert len(server.there()) == COUNT


@pytest.mark.parametrize("tls", ["stls", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_curl(server: Letters, tmp_path: Path, mechanism: str, tls: str) -> None:
    curl, environment = need("curl")
    able = run([curl, "--version"], environment, tmp_path / "home").stdout
    if mechanism.startswith("SCRAM") and "gsasl" not in able:
        pytest.skip("this curl is built without libgsasl: it speaks no SCRAM")
    scheme = "pop3s" if tls == "implicit" else "pop3"
    url = f"{scheme}://127.0.0.1:{port(server, tls)}/7"
    words = [curl, "-sS", "-k", "--ssl-reqd", "--user", f"{ALICE}:{PASSWORD}"]
    words += ["--login-options", f"AUTH={mechanism}", url]
    done = run(words, environment, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace("\r\n", "\n").endswith("Hello 7\n.\n..two\n.end\n")


@pytest.mark.parametrize("keep", [True, False])
def test_getmail(server: Letters, tmp_path: Path, keep: bool) -> None:
    """Only where TLS comes first: it does not speak STLS."""
    getmail, environment = need("getmail")
    out = tmp_path / "mbox"
    settings = tmp_path / "getmailrc"
    settings.write_text(
        "[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\n"
        f"port = {server.sealed}\nusername = {ALICE}\npassword = {PASSWORD}\n"
        f"ca_certs = {server.certificate}\nssl_cert_hostname = localhost\n"
        "[destination]\ntype = MDA_external\npath = /usr/bin/tee\n"
        f'arguments = ("-a", "{out}")\nallow_root_commands = true\n'
        f"[options]\ndelete = {not keep}\nread_all = false\n"
    )
    words = [getmail, "--getmaildir", str(tmp_path), "--rcfile", str(settings)]
    for _ in range(2):  # the second time it knows the unique ids
        done = run(words, environment, tmp_path / "home")
        assert done.returncode == 0, done.stdout + done.stderr
    assert out.read_text().count("Subject: letter") == COUNT
    assert len(server.there()) == (COUNT if keep else 0)


@pytest.mark.parametrize("tls", ["stls", "implicit"])
def test_mutt(server: Letters, tmp_path: Path, tls: str) -> None:
    """At a terminal of its own: fetch all, delete what was fetched, quit."""
    mutt, environment = need("mutt")
    folder = maildir(tmp_path / "mail")
    scheme = "pops" if tls == "implicit" else "pop"
    settings = tmp_path / "muttrc"
    settings.write_text(
        f"set spoolfile={folder} mbox_type=Maildir folder={tmp_path}\n"
        f'set pop_host="{scheme}://localhost:{port(server, tls)}"\n'
        f'set pop_user="{ALICE}" pop_pass="{PASSWORD}" pop_delete=yes\n'
        "set ssl_starttls=yes ssl_force_tls=yes\n"
        f"set certificate_file={server.certificate}\n"
        "set quit=yes sleep_time=0 move=no beep=no\n"
        "push '<fetch-mail><sync-mailbox><quit>'\n"
    )
    said = at_a_terminal([mutt, "-n", "-F", str(settings)], environment, tmp_path)
    assert fetched(folder) == EVERYTHING, said
    assert server.there() == []


def at_a_terminal(words: list[str], environment: dict[str, str], home: Path) -> bytes:
    """What a program draws until it ends."""
    pid, terminal = pty.fork()
    if not pid:
        os.execve(words[0], words, dict(environment, HOME=str(home), TERM="xterm"))
    said = b""
    with suppress(OSError):  # EIO: it has ended
        while select.select([terminal], [], [], 30)[0]:
            said += os.read(terminal, 4096)
        os.kill(pid, signal.SIGKILL)  # it waits for a key
    os.close(terminal)
    os.waitpid(pid, 0)
    return said
