"""The comparison with a Postfix that delivers: its arithmetic, and a real round."""

import tempfile
from pathlib import Path

import pytest

from fastsmtp_bench import peers
from fastsmtp_bench.client import Run
from fastsmtp_bench.delivered import COLUMNS, Maildir, Pair, markdown, measure
from fastsmtp_bench.postfix import usable


def runs(*rates: float) -> list[Run]:
    return [Run(rate, rate / 10, 1.0) for rate in rates]


def test_ratios_are_taken_inside_a_round() -> None:
    pair = Pair("W1", runs(100, 300, 200), runs(10, 10, 100))
    assert pair.cells() == ["W1", "200", "20.0", "10", "1", "10.0", "10.000"]


def test_the_table_has_a_cell_for_every_column() -> None:
    lines = markdown([Pair("W1", runs(2), runs(1))], "where").splitlines()
    assert lines[0] == "where"
    assert {line.count("|") for line in lines[2:]} == {len(COLUMNS) + 1}


def test_postfix_is_done_when_its_queue_is_empty_and_all_has_arrived(
    tmp_path: Path,
) -> None:
    new = tmp_path / "mail" / "inbox" / "new"
    queues = [tmp_path / "queue" / n for n in ("maildrop", "incoming", "active")]
    for folder in (new, *queues):
        folder.mkdir(parents=True)
    arriving = Maildir(tmp_path)
    arriving.expect(2)
    assert not arriving.is_settled()
    (new / "1").touch()
    (queues[2] / "2").touch()
    assert not arriving.is_settled()
    (queues[2] / "2").rename(new / "2")
    assert arriving.is_settled()
    arriving.expect(1)
    assert not arriving.is_settled()


@pytest.mark.slow
def test_a_real_round() -> None:
    if why := usable():
        pytest.skip(why)
    try:
        peers.tool("postdrop")
    except peers.Unavailable as missing:
        pytest.skip(str(missing))
    words = ["W6", "--rounds", "1", "--directory", tempfile.gettempdir()]
    last = measure(words).splitlines()[-1].split("|")
    assert last[1].strip() == "W6"
    assert float(last[6]) > 0
