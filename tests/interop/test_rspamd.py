"""Rspamd of the distribution, in a configuration of its own, decides about our mail."""

import json
import os
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_string
from pathlib import Path
from socket import create_connection

import pytest
from crash.kill_rig import USER, prepared, until

from fastsmtp_bench.client import pending
from fastsmtp_bench.served import Served, free_port

pytestmark = pytest.mark.slow
SHARE = Path("/usr/share/rspamd")
CONFIGURATION = """\
options {{
  pidfile = false;
  filters = "regexp";
  control_socket = "{home}/rspamd.sock mode=0600";
  cache_file = "{home}/symbols.cache";
  history_file = "{home}/history";
  tempdir = "{home}";
  url_tld = "{share}/effective_tld_names.dat";
  dns {{ nameserver = ["127.0.0.1:1:1"]; timeout = 0.1s; retransmits = 1; }}
  enable_test_patterns = true;
}}
logging {{ type = "console"; level = "warning"; }}
metric {{
  name = "default";
  actions {{ reject = 50; add_header = 2; }}
}}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
lua = "{share}/rules/rspamd.lua";
milter_headers {{ skip_local = false; use = ["x-rspamd-server", "x-spam-status"]; }}
modules {{ path = "{share}/plugins/milter_headers.lua"; }}
"""
HOOK = """\
[hooks.rspamd]
module = "fastsmtp.hooks.rspamd"
options = {{ url = "http://127.0.0.1:{port}/checkv2" }}

[hooks.lenient]
module = "fastsmtp.hooks.rspamd"
on_failure = "accept"
options = {{ url = "http://127.0.0.1:{closed}/checkv2" }}
"""
TEST = "JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
"""GTUBE, behind the letter that says what Rspamd does about it."""
HEADER = (
    "From: Alice <alice@client.test>\r\nTo: <user@example.test>\r\nSubject: a test\r\n"
    "Date: Tue, 24 Nov 2026 05:00:00 +0000\r\nMessage-ID: <1@client.test>\r\n\r\n"
)


@pytest.fixture(scope="module")
def rspamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Its port."""
    program = shutil.which("rspamd")
    if program is None or not SHARE.is_dir():
        pytest.skip("needs rspamd: apt-get install rspamd")
    home, port = tmp_path_factory.mktemp("rspamd"), free_port()
    configuration = home / "rspamd.conf"
    configuration.write_text(CONFIGURATION.format(home=home, share=SHARE, port=port))
    words = [program, "-f", "-c", str(configuration)]
    if os.getuid() == 0:
        words.append("-i")  # --insecure: as root
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)

    def listens() -> bool:
        assert process.poll() is None, (home / "log").read_text()[-2000:]
        with suppress(OSError), create_connection(("127.0.0.1", port), timeout=5):
            return True
        return False

    try:
        until(listens, "rspamd listens")  # it compiles its rules
        yield port
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def server(rspamd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    more = HOOK.format(port=rspamd, closed=free_port())
    made = prepared(tmp_path_factory.mktemp("interop"), more=more)
    made.start()
    yield made
    made.stop()


def send(server: Served, text: str, header: str = HEADER) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, "client.test", timeout=30) as client:
        client.sendmail("alice@client.test", USER, f"{header}{text}\r\n")


def last(server: Served) -> str:
    until(lambda: pending(server.metrics) == 0, "all mail in its mailbox")
    listed = server.command("mail", "list", USER, "--json").splitlines()
    uid = max(json.loads(line)["uid"] for line in listed)
    return server.command("mail", "show", USER, str(uid))


def test_gtube_is_rejected(server: Served) -> None:
    with pytest.raises(smtplib.SMTPDataError) as caught:
        send(server, f"X{TEST}")
    assert (caught.value.smtp_code, caught.value.smtp_error) == (
        554,
        b"5.7.1 Gtube pattern",
    )


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_doubtful_mail_is_marked_whatever_its_size(server: Served, size: int) -> None:
    text = ("y" * 70 + "\r\n") * (size // 72)
    send(server, text, HEADER.replace("Message-ID", "X-Id"))  # 2.5 points
    message = message_from_string(last(server))
    assert message["X-Spam-Status"].startswith("Yes, score=")
    assert message["X-Spam"] == "Yes"
    assert message["Subject"] == "a test"
    assert len(str(message.get_payload())) > size * 0.9


def test_plain_mail_passes(server: Served) -> None:
    send(server, "Nothing to see here.")
    message = message_from_string(last(server))
    assert message["X-Spam"] is None
    assert message["X-Spam-Status"].startswith("No, score=")
    text = server.read_metrics()
    assert 'check_results_total{check="hook:rspamd",result="error"} 0' in text
    failed = 'fastsmtp_check_results_total{check="hook:lenient",result="error"} '
    assert f"{failed}0" not in text
