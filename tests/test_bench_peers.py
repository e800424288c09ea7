"""The contest of servers: who takes part, what is counted, what is drawn."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as Xml
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fastsmtp_bench import plots, side_by_peers
from fastsmtp_bench.interrupt import INTERRUPTED
from fastsmtp_bench.peers import Unavailable, null_sink
from fastsmtp_bench.process import alive, tree
from fastsmtp_bench.rivals import Rival, Running
from fastsmtp_bench.side_by_peers import BEGIN, END, PAGE, Contest, Once, place
from fastsmtp_bench.sink import running


@contextmanager
def nowhere(home: Path) -> Iterator[Running]:
    raise Unavailable("apt-get install it")
    yield


@contextmanager
def sink(home: Path) -> Iterator[Running]:
    with null_sink() as (port, pid):
        yield Running(port, pid)


def contest() -> Contest:
    made = Contest(0.2)
    for name, durable in (("fastsmtp", "yes"), ("smtp-sink", "no, discards")):
        rival = Rival(name, "receive", durable, sink)
        made.rivals.append(rival)
        made.running[name] = rival, Running(25, 1)
    made.found["fastsmtp", "W1"] = [Once(900.0, 50.0, 3.0), Once(1100.0, 70.0, 5.0)]
    made.found["smtp-sink", "W1"] = [Once(2000.0, 40.0, 1.0)]
    return made


def test_a_row_has_medians_and_the_ratio_to_the_sink() -> None:
    lines = contest().table(["W1", "W3"]).split("\n")
    assert lines[2] == "| fastsmtp | yes | 1,000 | 0.50 | 60 | 4.0 | – | – | – | – |"
    assert "†" not in lines[3]  # its ceiling is not known
    assert len({line.count("|") for line in lines}) == 1


def test_what_is_near_the_ceiling_is_marked() -> None:
    made = contest()
    made.found["null sink", "W1"] = [Once(2400.0, 10.0, 1.0)]
    lines = made.table(["W1"]).split("\n")
    assert "| 2,000 † |" in lines[3]
    assert "†" not in lines[2]
    made.absent["Elsewhere"] = "apt-get install it"
    made.cut = "it was interrupted"
    assert made.notes(["W1"]) == [
        "†: limited by the generator, above 80 % of its ceiling.",
        "Not here: Elsewhere: apt-get install it.",
        "Shorter than it was to be: it was interrupted.",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("W9", "W9 is not one of W1, W2"),
        ("--only Sendmail", "there are only fastsmtp, smtp-sink"),
        ("--rounds 0", "0 is not a whole number above 0"),
        ("--directory /nowhere", "/nowhere is not a folder"),
    ],
)
def test_bad_words_end_with_2(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        side_by_peers.main(words.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_plot_is_a_file_of_its_own_the_fastest_first() -> None:
    drawn = Xml.fromstring(contest().picture("W1"))
    texts = [
        "".join(t.itertext()) for t in drawn.iter("{http://www.w3.org/2000/svg}text")
    ]
    assert texts.index("smtp-sink") < texts.index("fastsmtp")
    assert {"2,000", "1,000", "durable", "not durable"} <= set(texts)
    widths = [
        float(bar.attrib["width"])
        for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")
        if "rx" in bar.attrib
    ]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert widths[0] <= plots.WIDTH


def test_the_page_keeps_its_words() -> None:
    page = PAGE.read_text()
    new = place(page, "| x |")
    assert new.split(BEGIN)[0] == page.split(BEGIN)[0]
    assert new.split(END)[1] == page.split(END)[1]
    assert "\n| x |\n" in new


def test_what_failed_shows_no_figure_in_table_and_plot() -> None:
    made = contest()
    made.failed["fastsmtp", "W1"] = "no reply for 10 s, after 7 messages"
    lines = made.table(["W1"]).split("\n")
    assert lines[2] == "| fastsmtp | yes | failed | – | – | – |"
    assert made.notes(["W1"]) == [
        "Failed: fastsmtp, W1: no reply for 10 s, after 7 messages."
    ]
    assert "fastsmtp" not in made.picture("W1")


def test_how_long_it_takes_is_told_and_has_an_end() -> None:
    options = side_by_peers.options_of(["W1", "--minutes", "2"])
    said = side_by_peers.lasts(options)
    count = len(side_by_peers.RIVALS)
    assert said.startswith(f"{count} servers, 3 × 3 s of W1 each: about ")
    assert said.endswith("at most 3.0 minutes")


def test_no_load_begins_when_the_time_is_over(tmp_path: Path) -> None:
    made = Contest(0.2, until=0.0)
    with ExitStack() as stack:
        made.enter(Rival("late", "receive", "no", sink), tmp_path / "home", stack)
    assert made.absent == {"late": "no time was left"}
    assert not (tmp_path / "home").exists()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class Trouble:
    """A rival that starts; then it is as it is told to be."""

    def __init__(self, name: str, running: Callable[[int, int], Running]) -> None:
        self.name, self.running, self.ended = name, running, False

    def rival(self) -> Rival:
        return Rival(self.name, "receive", "yes", self.start)

    @contextmanager
    def start(self, home: Path) -> Iterator[Running]:
        with null_sink() as (port, pid):
            yield self.running(port, pid)
        self.ended = True


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_one_that_hangs_loses_or_breaks_never_stops_the_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stack: ExitStack,
) -> None:
    hang = {"rule": [{"when": "body", "do": "hang"}]}
    mute = stack.enter_context(running(hang)).port
    quiet = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def never() -> bool:
        raise ValueError("its page of metrics is no page")

    troubles = [
        Trouble("silent", lambda _, pid: Running(quiet.getsockname()[1], pid)),
        Trouble("hangs", lambda _, pid: Running(mute, pid)),
        Trouble("behind", lambda port, pid: Running(port, pid, lambda: True)),
        Trouble("loses", lambda port, pid: Running(port, pid, arrived=lambda: 7)),
        Trouble("broken", lambda port, pid: Running(port, pid, never)),
        Trouble("well", Running),
    ]
    monkeypatch.setattr(side_by_peers, "RIVALS", [t.rival() for t in troubles])
    monkeypatch.setattr(side_by_peers, "REPLY_SECONDS", 2.0)
    monkeypatch.setattr(Running.settle, "__defaults__", (0.2,))
    words = ["W1", "--rounds", "1", "--seconds", "0.2"]
    assert side_by_peers.main([*words, "--directory", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "| silent | yes | failed |" in said
    assert "Failed: silent, at its start: took no message: it says nothing." in said
    assert "Failed: hangs, at its start: no reply for 2 s, after 0 messages." in said
    assert "Failed: behind, at its start: not all was delivered within 0.2 s." in said
    assert re.search(
        r"Failed: loses, at its start: acknowledged [\d,]+, of which 0 are there", said
    )
    assert "Failed: broken, at its start: its page of metrics is no page." in said
    assert re.search(r"\| well \| yes \| [\d,]+", said)
    assert all(trouble.ended for trouble in troubles)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_one_that_dies_in_a_round_is_said_to_have_failed(tmp_path: Path) -> None:
    made = Contest(0.1)
    with ExitStack() as stack:
        for trouble in (Trouble("dies", Running), Trouble("well", Running)):
            made.enter(trouble.rival(), tmp_path / trouble.name, stack)
        os.kill(made.running["dies"][1].pid, signal.SIGKILL)
        made.rounds(["W1"], 2)
    assert made.failed["dies", "W1"].startswith("took no message: connection")
    assert len(made.found["well", "W1"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_who_is_absent_is_named_and_the_others_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rivals = (
        Rival("smtp-sink", "receive", "no, discards", sink),
        Rival("LMTP sink", "lmtp", "no, discards", sink),
        Rival("Elsewhere", "receive", "yes", nowhere),
    )
    monkeypatch.setattr(side_by_peers, "RIVALS", rivals)
    words = ["W1", "W2", "--rounds", "1", "--seconds", "0.2"]
    assert side_by_peers.main([*words, "--directory", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Not here: Elsewhere: apt-get install it." in said
    rows = [line for line in said.split("\n") if line.startswith("| ")]
    assert len(rows) == 4
    assert "–" not in "".join(rows[:3])
    assert rows[3].startswith("| Elsewhere | yes | not here | – ")
    with ExitStack() as stack:
        made = Contest(0.1)
        made.enter(rivals[2], tmp_path / "home", stack)
        assert made.running == {}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_ctrl_c_gives_a_table_and_leaves_nothing(tmp_path: Path) -> None:
    words = ["W1", "--only", "smtp-sink", "--rounds", "9999", "--seconds", "0.1"]
    with subprocess.Popen(
        [sys.executable, "-m", "fastsmtp_bench", "peers", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        while not process.stdout.readline().startswith("W1 null sink"):
            assert process.poll() is None
        started = tree(process.pid)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=40)
    assert process.returncode == INTERRUPTED
    assert "| smtp-sink | no, discards |" in said
    assert "Shorter than it was to be: it was interrupted." in said
    assert list(tmp_path.iterdir()) == []
    assert [pid for pid in started if alive(pid)] == []
