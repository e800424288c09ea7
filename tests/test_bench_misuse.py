"""What is typed wrong, or goes wrong, is said in a line and an exit status."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fastsmtp_bench import ledger, profile_file, run
from fastsmtp_bench.interrupt import INTERRUPTED, Interrupt, later
from fastsmtp_bench.native import preloaded
from fastsmtp_bench.process import alive
from fastsmtp_bench.profile_file import Mistake
from fastsmtp_bench.profiles import PROFILES
from fastsmtp_bench.sink import running

compiled = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]


# -- the command line ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--sessions 0", "argument --sessions: 0 is not a whole number above 0"),
        ("--sessions many", "many is not a whole number above 0"),
        ("--processes -1", "-1 is not a whole number above 0"),
        ("--rate 0", "argument --rate: 0 is not a number above 0"),
        ("--seconds inf", "inf is not a number above 0"),
        ("--target 127.0.0.1", "127.0.0.1 is not HOST:PORT"),
        ("--target 127.0.0.1:smtp", "127.0.0.1:smtp is not HOST:PORT"),
        ("--target 127.0.0.1:70000", "127.0.0.1:70000 is not HOST:PORT"),
        ("--folder /nowhere", "/nowhere is not a folder"),
        ("--directory /nowhere", "/nowhere is not a folder"),
        ("-c /nowhere.toml", "/nowhere.toml is not a file"),
        ("--output /nowhere/r", "there is no folder /nowhere"),
        ("--pid 99999999 --target :25", "there is no process 99999999"),
        ("--metrics http://127.0.0.1:1/", "are of a --target"),
        ("--speed 9", "unrecognized arguments: --speed 9"),
    ],
)
def test_bad_words_end_with_2(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(words.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@contextmanager
def greeting(text: bytes) -> Iterator[int]:
    """Somebody who greets so, as often as three are asked for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if pid := os.fork():
            yield int(server.getsockname()[1])
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        else:
            while True:
                client, _ = server.accept()
                client.sendall(text)


def misuse(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What it says on the way to exit status 2; nothing was loaded meanwhile."""
    assert run.main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "ceiling" not in said.err
    return said.err


class TestTargets:
    def test_nobody_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        said = misuse(f"--target 127.0.0.1:{port}", capsys)
        assert f"nobody answers at 127.0.0.1:{port}: Connection refused" in said

    def test_not_a_mail_server(self, capsys: pytest.CaptureFixture[str]) -> None:
        with greeting(b"SSH-2.0-x\r\n") as port:
            said = misuse(f"--target 127.0.0.1:{port}", capsys)
        assert "greets with 'SSH-2.0-x', not with 220" in said

    def test_strangers_are_not_loaded(self, capsys: pytest.CaptureFixture[str]) -> None:
        said = misuse("--target 192.0.2.1:25", capsys)
        assert "is not of this machine: load only servers of your own" in said
        said = misuse("--target 8.8.8.8:25 --remote", capsys)
        assert "8.8.8.8:25 is not private" in said

    def test_what_a_target_needs(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with greeting(b"220 here\r\n") as port:
            target = f"--target 127.0.0.1:{port}"
            said = misuse(f"{target} --metrics http://127.0.0.1:1/metrics", capsys)
            assert "--metrics http://127.0.0.1:1/metrics: " in said
            assert "Connection refused" in said
            said = misuse(f"{target} --profile submission", capsys)
            assert "submission logs in: --logins FILE, lines ADDRESS PASSWORD" in said
            (tmp_path / "l").write_text("only-a-name\n")
            said = misuse(
                f"{target} --profile submission --logins {tmp_path}/l", capsys
            )
            assert f"--logins {tmp_path}/l: not lines ADDRESS PASSWORD" in said
            said = misuse(f"{target} --verify", capsys)
            assert "--verify of a target wants --record PATH" in said


# -- profiles ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sesions = 3", "no setting sesions; did you mean sessions?"),
        ("sessions = 0", "sessions is 0, not a whole number from 1 on"),
        ("sessions = true", "sessions is True, not a whole number"),
        ('pipeline = "yes"', "pipeline is 'yes', not true or false"),
        ('like = "W9"', "like is 'W9', not one of mx, mx-brief"),
        ("sizes = 4096", "sizes is 4096, not [[octets, weight], …]"),
        ("sizes = [4096]", "4096 in sizes is not [octets, weight]"),
        ("sizes = [[0, 1]]", "0 in sizes is not octets from 1 to 1,073,741,824"),
        ("sizes = [[5, -1]]", "-1 in sizes is not a number above 0"),
        ("sizes = { mean = 5 }", "sizes has mean, not median and sigma"),
        ('folder = "nowhere"', "nowhere is not a folder"),
        ("auth = true", "auth wants tls"),
        ("mailboxes = 2\nrecipients = 3", "3 recipients want as many mailboxes"),
        ("sessions = = 3", "line 1"),
    ],
)
def test_a_mistake_in_a_profile_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(Mistake) as why:
        profile_file.load(path)
    assert str(why.value).startswith(f"profile {path}: ")
    assert said in str(why.value)


def test_a_profile_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = misuse("--profile /nowhere.toml", capsys)
    assert "profile /nowhere.toml: No such file or directory" in said
    said = misuse(f"--profile {tmp_path}", capsys)
    assert "Is a directory" in said
    said = misuse("--profile fast", capsys)
    assert "no profile fast, nor a FILE.toml of that name; there are mx, " in said
    said = misuse("--profile submision", capsys)
    assert "of that name; did you mean submission?" in said


def test_a_profile_is_another_and_what_differs(tmp_path: Path) -> None:
    (tmp_path / "eml").mkdir()
    path = tmp_path / "mine.toml"
    path.write_text('like = "lmtp"\nsizes = [[100, 1], [200, 0.5]]\nfolder = "eml"\n')
    found = profile_file.load(path)
    assert (found.name, found.lmtp, found.recipients) == ("mine", True, 5)
    assert found.sizes == ((100, 1.0), (200, 0.5))
    assert found.folder == str(tmp_path / "eml")
    path.write_text("sizes = { median = 1000, sigma = 1 }\nbdat = true\n")
    found = profile_file.load(path)
    assert len(found.sizes) == len(PROFILES["mx"].sizes)
    assert found.bdat
    assert found.sizes[0][0] < 1000 < found.sizes[-1][0]


# -- in the middle -------------------------------------------------------------------


def test_the_second_interrupt_ends_it_at_once() -> None:
    stopped: list[str] = []
    with Interrupt() as interrupt:
        with interrupt.ends(lambda: stopped.append("first")):
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupt.told
        with (
            interrupt.ends(lambda: stopped.append("next")),
            pytest.raises(KeyboardInterrupt),
        ):
            os.kill(os.getpid(), signal.SIGINT)
    assert stopped == ["first", "next"]


def test_a_signal_waits_until_a_child_is_known() -> None:
    known: list[str] = []

    def start() -> None:
        with later():
            os.kill(os.getpid(), signal.SIGINT)
            known.append("child")

    # who runs the tests may have it ignored, as a shell does behind an &
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert known == ["child"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_maildirs_hold_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "STILL", 0.0)
    for box, ids in {"a": ["x-1", "x-2"], "b": ["x-1", "y-1"]}.items():
        (tmp_path / box / "new").mkdir(parents=True)
        for one in ids:
            text = f"Subject: x\r\nMessage-ID: <{one}@load.invalid>\r\n\r\n"
            (tmp_path / box / "new" / f"1.{one}").write_text(text)
    (tmp_path / "a/tmp").mkdir()
    (tmp_path / "a/tmp/half").write_text("Message-ID: <x-2@load.invalid>")
    found = ledger.marked(ledger.in_folder(tmp_path), "x-")
    assert ledger.settle(["x-1"], found, 2).good
    balance = ledger.settle(["x-1", "x-2"], found, 2)
    assert (balance.lost, balance.doubled, balance.unasked) == (["x-2"], [], 0)


class TestRuns:
    pytestmark = compiled

    def start(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "fastsmtp_bench", "run", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **more},
        )

    def test_ctrl_c_in_the_middle_gives_a_report_of_what_there_is(
        self, tmp_path: Path
    ) -> None:
        record = tmp_path / "record"
        with running({}, "--record", str(record)) as null:
            words = ["--target", f"127.0.0.1:{null.port}", "--record", str(record)]
            words += ["--rate", "70", "--seconds", "50", "--profile", "W1"]
            words += ["--verify", "--output", str(tmp_path / "r")]
            began = time.monotonic()
            with self.start(*words) as process:
                while "-70-" not in record.read_text():  # the ids of that phase
                    assert time.monotonic() - began < 40
                process.send_signal(signal.SIGINT)
                said, complaint = process.communicate(timeout=20)
        assert process.returncode == INTERRUPTED, complaint
        assert said.startswith("stopped early, in the phase 70 messages/s: reached ")
        assert "acknowledged messages are there once" in said
        found = json.loads((tmp_path / "r.json").read_text())
        assert found["verdict"]["interrupted"]
        assert not found["verdict"]["sustained"]
        assert "interrupted" in (tmp_path / "r.html").read_text()

    def test_ctrl_c_while_the_server_hangs(self, tmp_path: Path) -> None:
        record = tmp_path / "record"
        hang = {"rule": [{"when": "data", "first": 0, "share": 0.05, "do": "hang"}]}
        with running(hang, "--record", str(record)) as null:
            words = ["--target", f"127.0.0.1:{null.port}", "--profile", "W1"]
            words += ["--seconds", "600", "--output", str(tmp_path / "r")]
            began = time.monotonic()
            with self.start(*words) as process:
                # the warm-up waits for replies that never come
                while len(record.read_text()) < 100:
                    assert time.monotonic() - began < 40
                process.send_signal(signal.SIGINT)
                said, complaint = process.communicate(timeout=20)
        assert process.returncode == INTERRUPTED
        assert "interrupted before anything was measured" in complaint
        assert said == ""

    def test_no_room_for_the_report(self, tmp_path: Path) -> None:
        place, control = tmp_path / "full", tmp_path / "control"
        place.mkdir()
        control.write_text("full")
        with running() as null:
            words = ["--target", f"127.0.0.1:{null.port}", "--profile", "W1"]
            words += ["--rate", "50", "--seconds", "0.5", "--output", str(place / "r")]
            trouble = {"LD_PRELOAD": str(preloaded("trouble"))}
            trouble |= {"TROUBLE_PATH": str(place), "TROUBLE_CONTROL": str(control)}
            with self.start(*words, **trouble) as process:
                said, complaint = process.communicate(timeout=40)
        assert process.returncode == 2
        assert "messages/s at p99" in said  # what was found is not lost with it
        assert "report is not written: [Errno 28] No space left" in complaint
        assert list(place.iterdir()) == []

    def test_submission_to_a_server_that_runs(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """TLS to a sink; it lets in nobody, and that is said."""
        (tmp_path / "logins").write_text("u1@example.test secret\n")
        with running() as null:
            words = ["--target", f"127.0.0.1:{null.port}", "--profile", "submission"]
            words += ["--logins", str(tmp_path / "logins"), "--seconds", "0.3"]
            assert run.main([*words, "--output", str(tmp_path / "r")]) == 2
        said = capsys.readouterr().err
        assert "messages/s against the null sink" in said  # which speaks TLS
        assert "took no message" in said

    def test_told_to_end_while_its_server_starts_it_takes_it_along(
        self, tmp_path: Path
    ) -> None:
        words = ["--profile", "W1", "--directory", str(tmp_path)]
        with self.start(*words, "--output", str(tmp_path / "r")) as process:
            began = time.monotonic()
            while not (servers := serving(tmp_path)):
                assert time.monotonic() - began < 40
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=40)
        assert process.returncode == 128 + signal.SIGTERM
        assert not any(alive(pid) for pid in servers)
        assert serving(tmp_path) == []
        assert list(tmp_path.iterdir()) == []

    def test_a_server_that_dies_is_blamed_with_its_log(self, tmp_path: Path) -> None:
        words = ["--profile", "W1", "--directory", str(tmp_path), "--seconds", "30"]
        words += ["--output", str(tmp_path / "r")]
        with self.start(*words) as process:
            assert process.stderr
            said = ""
            while not said.startswith("warm-up"):
                said = process.stderr.readline()
            for pid in serving(tmp_path):
                os.kill(pid, signal.SIGKILL)
            complaint = process.stderr.read()
        assert process.returncode == 2
        assert "fastsmtp, mode split took " in complaint
        assert "; the server ended with -9:" in complaint
        assert list(tmp_path.iterdir()) == []

    def test_who_is_refused_is_told_what_was_said(self, tmp_path: Path) -> None:
        none = {"rule": [{"when": "rcpt", "reply": "550 5.1.1 No such user"}]}
        with running(none) as null:
            words = ["--target", f"127.0.0.1:{null.port}", "--profile", "W1"]
            with self.start(*words, "--output", str(tmp_path / "r")) as process:
                _, complaint = process.communicate(timeout=40)
        assert process.returncode == 2
        assert "took no message: refused: 550 5.1.1 No such user\n" in complaint


def serving(folder: Path) -> list[int]:
    """Processes of servers whose data are there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            if b"serve\0" in words and bytes(folder) in words:
                found.append(int(entry.name))
    return found
