"""Our conversations with real servers: each message there once, octet by octet."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from pwd import getpwnam
from typing import Any

import pytest
import uvloop
from certificate import pair
from crash.kill_rig import USER, prepared, until
from interop.exim import Exim
from interop.test_peers import MORE, delivered, letter, stored
from test_smtp_client import Bytes, codes

from fastsmtp.delivery.conversation import Conversation, Switchboard, Terms
from fastsmtp.net.dial import Place
from fastsmtp.smtp.letter import Answer, Letter, Rcpt
from fastsmtp.smtp.options import SendOptions
from fastsmtp_bench import peers
from fastsmtp_bench.client import pending
from fastsmtp_bench.postfix import NOBODY, Postfix, usable
from fastsmtp_bench.served import free_port

pytestmark = pytest.mark.slow
COUNT = 30
TO_EXIM = """\
exim_path = {binary}
exim_user = mail
exim_group = mail
keep_environment = LD_LIBRARY_PATH : LD_PRELOAD
spool_directory = {home}/spool
log_file_path = {home}/%slog
primary_hostname = exim.example
never_users =
local_interfaces = <; [{address}]:{port}
tls_advertise_hosts = *
tls_certificate = {home}/tls.crt
tls_privatekey = {home}/tls.key
chunking_advertise_hosts = *
dsn_advertise_hosts = *
message_size_limit = 50M
acl_smtp_rcpt = anybody
queue_only

begin acl
anybody:
  deny local_parts = nobody
       message = no such user
  accept

begin routers
here:
  driver = accept
  transport = box

begin transports
box:
  driver = appendfile
  directory = {home}/box
  maildir_format
  create_directory
  user = mail
"""


class Receiving(Exim):
    """An Exim that takes mail for everybody but `nobody`, and keeps it in a Maildir."""

    def __init__(self, home: Path, address: str = "127.0.0.1", port: int = 0) -> None:
        self.address, self.port = address, port or free_port(address)
        super().__init__(home, self.port)
        for file in pair(home, "exim.example"):
            shutil.chown(file, "mail", "mail")
        where = {"address": address, "port": self.port}
        text = TO_EXIM.format(home=home, binary=self._binary, **where)
        self._configuration.write_text(text)

    def start(self) -> None:
        self._daemon = subprocess.Popen(
            [str(self._binary), "-C", str(self._configuration), "-bdf"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peers.answers(self.port, host=self.address)

    def stop(self) -> None:
        self._daemon.terminate()
        self._daemon.wait(20)

    def bodies(self) -> list[bytes]:
        """What is behind the field that Exim puts in front, lines ending with LF."""
        found = []
        for file in (self.home / "box/new").glob("*"):
            _, _, rest = file.read_bytes().partition(b"\nFrom: ")
            found.append(b"From: " + rest)
        return found


@pytest.fixture
def exim() -> Iterator[Receiving]:
    if os.getuid():
        pytest.skip("Exim is started by root")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    home = folder / "exim"
    home.mkdir()
    try:
        made = Receiving(home)
    except (peers.Unavailable, OSError) as error:
        pytest.skip(f"needs exim4: {error}")
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


def outgoing(number: int, *recipients: str) -> Letter:
    body = letter(number).replace(b"\n", b"\r\n")
    to = tuple(map(Rcpt, recipients or (USER,)))
    sender = "someone@sender.example"
    return Letter(sender, to, Bytes(body), eight_bit=True, ret="HDRS", envid="a+b")


def run(story: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(story, 60))


async def send_all(conversation: Conversation, letters: list[Letter]) -> list[Answer]:
    """Two at a time; the answers in order."""
    answers: list[Answer] = []
    over = asyncio.get_running_loop().create_future()
    left = list(reversed(letters))

    def done(heard: list[Answer]) -> None:
        answers.extend(heard)
        if left:
            conversation.give(left.pop(), done)
        elif len(answers) == sum(len(one.recipients) for one in letters):
            over.set_result(None)

    for _ in range(2):
        conversation.give(left.pop(), done)
    await over
    await conversation.quit()
    return answers


@pytest.mark.parametrize("chunking", [True, False])
def test_exim_takes_all_of_it(exim: Receiving, chunking: bool) -> None:
    """Over TLS whose certificate is verified, in chunks or with dots."""

    async def story() -> None:
        options = SendOptions(
            tls="verify", ca_file=str(exim.home / "tls.crt"), chunking=chunking
        )
        board = Switchboard("client.example", options)
        board.open()
        place = Place("127.0.0.1", exim.port)
        conversation = await board.connect([place], Terms(name="exim.example"))
        assert conversation.secured == "TLSv1.3"
        assert conversation.offers.chunking
        assert conversation.offers.pipelining
        letters = [outgoing(number) for number in range(COUNT)]
        answers = await send_all(conversation, letters)
        assert codes(answers) == [(250, "body")] * COUNT
        second = await board.connect([place], Terms(name="exim.example"))
        refused = await send_all(second, [outgoing(0, "nobody@x.test")] * 2)
        assert codes(refused) == [(550, "rcpt")] * 2
        board.close()

    run(story())
    exim.send()  # from its spool: a daemon without its usual place may not do that
    assert sorted(exim.bodies()) == sorted(letter(number) for number in range(COUNT))


BOX = """\
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {home}/boxes
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
smtpd_relay_restrictions = permit_auth_destination, reject
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{ nobody@{domain} = 550 5.1.1 nobody }} }}
smtpd_tls_security_level = may
smtpd_tls_cert_file = {home}/tls.crt
smtpd_tls_key_file = {home}/tls.key
smtpd_discard_ehlo_keywords = {discarded}
"""
BOX_SERVICES = """\
{address}:{port} inet n - n - - smtpd
anvil unix - - n - 1 anvil
virtual unix - n n - - virtual
"""


class PostfixBox(Postfix):
    """A Postfix that takes mail for a domain, but `nobody`, and keeps it."""

    def __init__(
        self,
        home: Path,
        discarded: str,
        domain: str = "example.test",
        place: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.address = place[0]
        self.port = place[1] or free_port(self.address)
        self.discarded = discarded
        user = getpwnam(NOBODY)
        pair(home, "postfix.example")
        (home / "boxes").mkdir()
        shutil.chown(home / "boxes", NOBODY)
        ids = {"uid": user.pw_uid, "gid": user.pw_gid}
        main = BOX.format(home=home, discarded=discarded, domain=domain, **ids)
        where = {"address": self.address, "port": self.port}
        super().__init__(home, main, BOX_SERVICES.format(**where))

    def bodies(self) -> list[bytes]:
        """What is behind the fields that Postfix puts in front; lines end with LF."""
        files = (self.home / "boxes/all/new").glob("*")
        return [b"From: " + f.read_bytes().partition(b"\nFrom: ")[2] for f in files]


@pytest.fixture(params=["", "chunking", "chunking, pipelining"])
def postfix(request: pytest.FixtureRequest) -> Iterator[PostfixBox]:
    """With all that it offers, and with less."""
    if why := usable():
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    home = folder / "postfix"
    home.mkdir()
    try:
        made = PostfixBox(home, request.param)
    except (peers.Unavailable, OSError) as error:
        pytest.skip(f"needs postfix: {error}")
    try:
        made.start()
        peers.answers(made.port)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


def test_postfix_takes_all_of_it(postfix: PostfixBox) -> None:
    async def story() -> None:
        options = SendOptions(tls="verify", ca_file=str(postfix.home / "tls.crt"))
        board = Switchboard("client.example", options)
        board.open()
        place, terms = Place("127.0.0.1", postfix.port), Terms(name="postfix.example")
        conversation = await board.connect([place], terms)
        assert conversation.secured == "TLSv1.3"
        assert conversation.offers.pipelining == ("pipelining" not in postfix.discarded)
        both = [outgoing(n, "nobody@example.test", USER) for n in range(COUNT)]
        answers = await send_all(conversation, both)
        assert codes(answers) == [(550, "rcpt"), (250, "body")] * COUNT
        second = await board.connect([place], terms)
        refused = await send_all(second, [outgoing(0, "nobody@example.test")] * 2)
        assert codes(refused) == [(550, "rcpt")] * 2
        board.close()

    run(story())
    until(lambda: len(postfix.bodies()) == COUNT, postfix.log()[-3000:])
    assert sorted(postfix.bodies()) == sorted(letter(n) for n in range(COUNT))


@pytest.mark.parametrize("over", ["tls", "lmtp"])
def test_our_own_server_takes_all_of_it(tmp_path: Path, over: str) -> None:
    certificate, key = pair(tmp_path, "mx.example.test")
    folder = Path(tempfile.mkdtemp())
    more = MORE.format(certificate=certificate, key=key, lmtp=folder / "lmtp")
    server = prepared(tmp_path, more=more)
    server.start()

    async def story() -> None:
        board = Switchboard("client.example", SendOptions(ca_file=str(certificate)))
        board.open()
        if over == "tls":
            terms = Terms(name="mx.example.test", tls="verify")
            place = Place("127.0.0.1", server.port)
        else:
            terms, place = Terms(lmtp=True, tls="none"), Place(f"unix:{folder}/lmtp", 0)
        conversation = await board.connect([place], terms)
        letters = [outgoing(number) for number in range(COUNT)]
        answers = await send_all(conversation, letters)
        stage = "body" if over == "tls" else "lmtp"
        assert codes(answers) == [(250, stage)] * COUNT
        board.close()

    try:
        run(story())
        until(lambda: delivered(server) >= COUNT, "all mail arrives")
        until(lambda: pending(server.metrics) == 0, "all mail in its mailbox")
        traces, rests = stored(server)
    finally:
        server.stop()
        shutil.rmtree(folder)
    assert sorted(rests) == sorted(letter(number) for number in range(COUNT))
    word = b" with ESMTPS id " if over == "tls" else b" with LMTP id "
    assert all(word in trace for trace in traces)


FAULTS = {
    ("-r", "mail"): (4, "mail"),
    ("-r", "rcpt"): (4, "rcpt"),
    ("-r", "data"): (4, "data"),
    ("-r", "."): (4, "body"),
    ("-f", "mail"): (5, "mail"),
    ("-f", "rcpt"): (5, "rcpt"),
    ("-f", "data"): (5, "data"),
    ("-f", "."): (5, "body"),
    ("-q", "mail"): (0, "mail"),
    ("-q", "rcpt"): (0, "rcpt"),
    ("-q", "data"): (0, "data"),
    ("-q", "."): (0, "body"),
    ("-Q", "mail"): (4, "mail"),
    ("-Q", "rcpt"): (4, "rcpt"),
    ("-Q", "data"): (4, "data"),
    ("-Q", "."): (4, "body"),
}


@pytest.mark.parametrize("flag", FAULTS)
def test_smtp_sink_refuses_and_hangs_up(flag: tuple[str, str]) -> None:
    kind, stage = FAULTS[flag]

    async def story(port: int) -> None:
        board = Switchboard("client.example", SendOptions())
        board.open()
        conversation = await board.connect([Place("127.0.0.1", port)], Terms())
        done = asyncio.get_running_loop().create_future()
        conversation.give(outgoing(1, "a@t.test", "b@t.test"), done.set_result)
        answers = await done
        assert (answers[0].code // 100, answers[0].stage) == (kind, stage)
        assert {a.code // 100 for a in answers} == {kind}
        board.close()

    try:
        with peers.smtp_sink(*flag) as (port, _):
            run(story(port))
    except peers.Unavailable as error:
        pytest.skip(f"needs smtp-sink: {error}")
