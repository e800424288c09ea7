"""sendmail(8) as cron and PHP call it, up to a server on a Unix socket."""

import asyncio
import io
import os
import pwd
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeReport

from fastsmtp.cells import fresh
from fastsmtp.cli import main, sendmail
from fastsmtp.cli.sendmail import Trouble, read_message, read_words
from fastsmtp.net.listener import bind
from fastsmtp.policy.options import DomainOptions, SendmailOptions
from fastsmtp.policy.recipients import Recipients
from fastsmtp.policy.senders import Senders
from fastsmtp.queue.message import Envelope, decode_envelope
from fastsmtp.serve.programs import Programs
from fastsmtp.serve.smtpd import Smtpd, Terms
from fastsmtp.serve.submission import Submission
from fastsmtp.smtp import counts
from fastsmtp.smtp.options import SmtpOptions
from fastsmtp.store.memory import MemoryStore

DOMAIN = "mx.example.test"
DOMAINS = {DOMAIN: DomainOptions(aliases={"root": [f"alice@{DOMAIN}"]})}
ME = "me"
Output = pytest.CaptureFixture[str]


class Machine:
    """A server for the programs of this machine, and a way to call the command."""

    def __init__(self, path: Path, options: SendmailOptions) -> None:
        self.path = path
        self.store = MemoryStore()
        known = {f"alice@{DOMAIN}"}.__contains__
        senders = Senders(DOMAINS, known, {f"{ME}@{DOMAIN}": ["@shop.test"]})
        programs = Programs(options, DOMAIN, senders)
        programs.login_of = lambda user: f"{ME}@{DOMAIN}"  # type: ignore[method-assign]
        programs._trusted = frozenset(f"{n}@{DOMAIN}" for n in options.trusted)
        self.smtpd = Smtpd(
            Terms(
                *(programs.domain, SmtpOptions(dsn=True), fresh(counts.CELLS)),
                "sendmail",
                submission=Submission(programs.domain, programs, False),
                whose=programs.whose,
            ),
            self.store,
            Recipients(DOMAINS, known).resolve,
            FakeReport(),  # type: ignore[arg-type]
        )

    async def call(self, words: list[str], octets: bytes) -> int:
        """`words` begin with the name of the command."""
        sys.stdin = io.TextIOWrapper(io.BytesIO(octets))
        return await asyncio.to_thread(main, words)


Calling = Callable[..., tuple[int, list[tuple[Envelope, bytes]]]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calling:
    """Calls the command once; its exit code, and what the server took."""
    path = tmp_path / "sendmail.sock"
    monkeypatch.setenv("FASTSMTP_SENDMAIL", str(path))
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    user = pwd.struct_passwd((ME, "", 1, 1, "Me Myself,room 7", "", ""))
    monkeypatch.setattr(sendmail, "caller", lambda: user)
    taken: list[tuple[Envelope, bytes]] = []

    def call(
        *words: str, octets: bytes = b"Subject: x\n\nhello\n", trusted: bool = False
    ) -> tuple[int, list[tuple[Envelope, bytes]]]:
        async def run() -> int:
            options = SendmailOptions(trusted=[ME] if trusted else [])
            here = Machine(path, options)
            submit = here.store.submit

            def noted(*what: Any) -> None:
                _, _, envelope, head, body, _ = what
                taken.append((decode_envelope(envelope), bytes(head) + bytes(body)))
                submit(*what)

            here.store.submit = noted  # type: ignore[method-assign]
            sockets = bind(f"unix:{path}")
            await here.smtpd.open(sockets)
            try:
                return await here.call(["sendmail", *words], octets)
            finally:
                here.smtpd.close()
                for sock in sockets:
                    sock.close()

        return asyncio.run(run()), taken

    return call


def test_cron_sends_to_root(machine: Calling) -> None:
    """The words of Debian's cron, and its message."""
    message = b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@mx> date\n\nx\n"
    words = ["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"]
    code, ((envelope, kept),) = machine(*words, octets=message)
    assert code == 0
    assert envelope.reverse_path == f"{ME}@{DOMAIN}"
    assert [to.address for to in envelope.recipients] == [f"root@{DOMAIN}"]
    assert envelope.login == f"{ME}@{DOMAIN}"
    assert kept.endswith(message.replace(b"\n", b"\r\n"))
    assert b"\r\nDate: " in kept
    assert b"\r\nMessage-ID: <" in kept


def test_php_sends_to_whom_the_header_names(machine: Calling) -> None:
    """mail() with sendmail_path "sendmail -t -i": CRLF between fields, LF elsewhere."""
    message = (
        b"To: Bob <bob@far.test>,\n carol@far.test\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n"
        b"Cc: dave@far.test\r\nBcc: eve@far.test\r\n\n.\nhello\n"
    )
    words = ["-t", "-i", "-f", "cart@shop.test"]
    code, ((envelope, kept),) = machine(*words, octets=message)
    assert code == 0
    assert envelope.reverse_path == "cart@shop.test"
    names = [to.address.partition("@")[0] for to in envelope.recipients]
    assert names == ["bob", "carol", "dave", "eve"]
    assert envelope.body == "8BITMIME"
    assert b"eve" not in kept.partition(b"\r\n\r\n")[0]
    assert kept.endswith(b"\r\n\r\n.\r\nhello\r\n")
    assert b"\r\nFrom: Me Myself <cart@shop.test>\r\n" in kept
    assert b"\n\n" not in kept
    assert kept.count(b"\r") == kept.count(b"\n")


@pytest.mark.parametrize("sender", ["root", "you@far.test", f"alice@{DOMAIN}"])
def test_nobody_sends_as_another(machine: Calling, sender: str, capsys: Output) -> None:
    assert machine("-f", sender, "root") == (77, [])
    assert "You may not send from this address" in capsys.readouterr().err
    code, ((envelope, _),) = machine("-f", sender, "root", trusted=True)
    assert code == 0
    assert envelope.reverse_path.startswith(sender)


def test_own_tags_and_the_null_path_are_everybodys(
    machine: Calling,
) -> None:
    assert machine("-f", f"{ME}+lists", "root")[0] == 0
    code, taken = machine("-f", "<>", "root")
    assert code == 0
    assert taken[-1][0].reverse_path == ""


def test_one_refused_recipient_stops_all(machine: Calling, capsys: Output) -> None:
    assert machine("bob@far.test", f"nobody@{DOMAIN}") == (67, [])
    error = capsys.readouterr().err
    assert f"nobody@{DOMAIN}: 550 5.1.1 No such user here; nothing was sent" in error


def test_notices_are_asked_for(machine: Calling) -> None:
    words = ["-Nsuccess,delay", "-R", "hdrs", "-V", "id-7", "bob@far.test"]
    _, ((envelope, _),) = machine(*words)
    assert envelope.ret == "HDRS"
    assert envelope.envid == "id-7"
    assert envelope.recipients[0].notify == "SUCCESS,DELAY"


def test_what_is_too_big_is_refused_before_it_is_sent(
    machine: Calling, capsys: Output
) -> None:
    words, octets = ["-v", "root"], b"x\n" * 20_000_000
    assert machine(*words, octets=octets) == (65, [])
    said = capsys.readouterr()
    assert "SIZE=6000" in said.out
    assert "DATA" not in said.out
    assert "552 5.3.4" in said.err


def test_what_the_server_refuses_is_said(machine: Calling, capsys: Output) -> None:
    assert machine("root", octets=b"Subject: x\n\n\0\n") == (65, [])
    assert "NUL in the message" in capsys.readouterr().err


def test_verbose_shows_the_dialogue(machine: Calling, capsys: Output) -> None:
    machine("-v", "root")
    out = capsys.readouterr().out
    assert f">>> RCPT TO:<root@{DOMAIN}>\n250 2.1.5 Ok\n" in out


def test_without_a_server_the_caller_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("FASTSMTP_SENDMAIL", str(tmp_path / "sendmail.sock"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\n")))
    assert main(["sendmail", "root"]) == 75
    assert "nothing was sent, try again later" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-Z", "root"], 64),
        (["-f"], 64),
        (["-bd"], 64),
        (["-bv", "root"], 64),
        (["-N", "sometimes", "root"], 64),
        (["-V", "a b", "root"], 64),
        ([], 64),
        (["-f", "a\r\nRCPT TO:<x@y>", "root"], 67),
        (["-bi"], 0),
        (["-qX"], 64),
        (["-qI"], 64),
        (["bob smith@x.test"], 67),
        (["bob@x.test, <carol"], 67),
    ],
)
def test_wrong_usage_is_said(
    words: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\n")))
    assert main(["sendmail", *words]) == code
    assert bool(capsys.readouterr().err) == bool(code)


def test_options_of_sendmail_that_mean_nothing_here_are_taken() -> None:
    words = ["-oi", "-oem", "-odb", "-G", "-U", "-m", "-n", "-Am", "-q30m", "-d0"]
    words += ["-O", "DeliveryMode=b", "-h5", "-Lx", "-X", "/dev/null", "-B7BIT"]
    wish = read_words([*words, "a@b.test", "--", "-f"])
    assert wish.dots
    assert wish.recipients == ["a@b.test", "-f"]


QUEUE = [
    ("-bp", ["queue", "list"]),
    ("-q", ["queue", "retry", "--yes", "--all"]),
    ("-q30m", ["queue", "retry", "--yes", "--all"]),
    ("-qIabc", ["queue", "retry", "--yes", "abc"]),
    ("-qRfar.test", ["queue", "retry", "--yes", "--domain", "far.test"]),
    ("-qRb@far.test", ["queue", "retry", "--yes", "--recipient", "b@far.test"]),
    ("-qSfar.test", ["queue", "retry", "--yes", "--sender", "@far.test"]),
    ("-qS<>", ["queue", "retry", "--yes", "--sender", "<>"]),
]


@pytest.mark.parametrize(("word", "expected"), QUEUE)
@pytest.mark.parametrize(("code", "known"), [(0, 0), (1, 69), (2, 78)])
def test_the_queue_is_a_verb_of_ours(
    word: str,
    expected: list[str],
    code: int,
    known: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[list[str]] = []

    def noted(words: list[str]) -> int:
        called.append(words)
        return code

    monkeypatch.setattr("fastsmtp.cli.main", noted)
    assert sendmail.main("sendmail", [word, "-Cfile"]) == known
    assert called == [[*expected, "-c", "file"]]


def test_a_queue_run_is_silent_unless_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def told(words: list[str]) -> int:
        print("3 messages")
        return 0

    monkeypatch.setattr("fastsmtp.cli.main", told)
    sendmail.main("sendmail", ["-q"])
    assert capsys.readouterr().out == ""
    sendmail.main("sendmail", ["-q", "-v"])
    assert capsys.readouterr().out == "3 messages\n"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"To: undisclosed-recipients:;\nBcc: a@x.test", ["a@x.test"]),
        (b"To: root", ["root"]),
        (b"To: Team: a@x.test, b@x.test;, (Bob) c@x.test", [*"abc"]),
        (b'To: "Smith, Bob" <a@x.test>', [*"a"]),
        (b"To: M\xfcller <a@x.test>,,\n b@x.test", [*"ab"]),
        (b"To: a@x.test; b@x.test", [*"ab"]),
        (b"To: Eve <e@y.test> <a@x.test>", None),
        (b"To: a@x.test b@x.test", None),
        (b'To: O"Neil <a@x.test>', None),
    ],
)
def test_a_header_is_read_right_or_not_at_all(
    header: bytes, expected: list[str] | None
) -> None:
    """What cannot be read is said, and nobody gets the message."""
    text, wish = header + b"\n\n", read_words(["-t"])
    if expected is None:
        with pytest.raises(Trouble) as unread:
            sendmail.recipients(wish, text)
        assert unread.value.code == 67
        return
    whole = [f"{n}@x.test" if len(n) == 1 else n for n in expected]
    assert sendmail.recipients(wish, text) == whole


def served(replies: bytes) -> socket.socket:
    """Our end of a connection whose other end says this and goes away."""
    ours, theirs = socket.socketpair()
    theirs.sendall(replies)
    theirs.shutdown(socket.SHUT_WR)
    _KEPT.append(theirs)
    return ours


_KEPT: list[socket.socket] = []


@pytest.mark.parametrize(
    ("replies", "code", "words"),
    [
        (b"", 75, "it went away; nothing sent"),
        (b"421 4.3.2 stopping\r\n", 75, "421 4.3.2 stopping"),
        (b"220 x\r\n250 x\r\n452 4.3.1 disk full\r\n", 75, "452 4.3.1 disk full"),
        (b"220 x\r\n250 x\r\n250 ok\r\n", 75, "it went away; nothing sent"),
        (
            b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n",
            75,
            "it may have the message or not",
        ),
        (
            b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n452 4.3.1 disk full\r\n",
            75,
            "452 4.3.1 disk full",
        ),
        (b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n", 0, ""),
    ],
)
def test_a_server_that_fails_is_no_lost_message(
    replies: bytes,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    monkeypatch.setattr(sendmail, "reach", lambda wish: served(replies))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\n")))
    assert main(["sendmail", "root"]) == code
    assert words in capsys.readouterr().err
    _KEPT.pop().close()


def test_letters_may_stand_together() -> None:
    wish = read_words(["-tifme@x.test", "-F", "My Name"])
    assert (wish.from_header, wish.dots, wish.sender) == (True, True, "me@x.test")
    assert wish.name == "My Name"


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"A: b\n\nx\n.\ny\n", b"A: b\n\nx\n"),
        (b"A: b\n\nx\n.", b"A: b\n\nx\n"),
        (b"A: b\r\n\r\nx\r\n", b"A: b\n\nx\n"),
        (b"A: b\n\n..\nx\n", b"A: b\n\n..\nx\n"),
        (b"From me Mon\nA: b\n\nx", b"A: b\n\nx\n"),
        (b"no header\n", b"\nno header\n"),
        (b"", b"\n\n"),
        (b".\n", b"\n\n"),
    ],
)
def test_a_message_ends_with_a_dot(octets: bytes, expected: bytes) -> None:
    assert read_message(octets, dots=False).strip(b"\n") == expected.strip(b"\n")
    assert b"\r" not in read_message(octets, dots=True)


def test_resent_fields_go_first() -> None:
    text = b"To: a@x.test\nResent-To: b@x.test\n\n"
    assert sendmail.recipients(read_words(["-t"]), text) == ["b@x.test"]
    with pytest.raises(Trouble) as nobody:
        sendmail.recipients(read_words(["-t"]), b"Subject: x\n\n")
    assert nobody.value.code == 64


def test_smtp_on_standard_input_is_passed_through(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    os.write(write, b"QUIT\r\n")
    os.close(write)
    kept = os.dup(0)
    os.dup2(read, 0)
    os.close(read)
    theirs.sendall(b"220 hello\r\n221 bye\r\n")
    theirs.shutdown(socket.SHUT_WR)
    try:
        assert sendmail.pipe(ours) == 0
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert capfdbinary.readouterr().out == b"220 hello\r\n221 bye\r\n"
    ours.close()
    theirs.close()
