"""The contest of servers: who takes part, what is counted, what is drawn."""

import shutil
import xml.etree.ElementTree as Xml
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fastsmtp_bench import plots, side_by_peers
from fastsmtp_bench.peers import Unavailable, null_sink
from fastsmtp_bench.rivals import Rival, Running
from fastsmtp_bench.side_by_peers import BEGIN, END, PAGE, Contest, Once, place


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
    assert made.notes(["W1"]) == [
        "†: limited by the generator, above 80 % of its ceiling.",
        "Not measured: Elsewhere: apt-get install it",
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
    assert "Not measured: Elsewhere: apt-get install it" in said
    rows = [line for line in said.split("\n") if line.startswith("| ")]
    assert len(rows) == 3
    assert "–" not in "".join(rows)
    with ExitStack() as stack:
        made = Contest(0.1)
        made.enter(rivals[2], tmp_path / "home", stack)
        assert made.running == {}
