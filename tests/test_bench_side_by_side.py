"""The arithmetic of the comparison, and what it reads from a server's metrics."""

from pathlib import Path

import pytest

from fastsmtp_bench.client import PENDING, Run
from fastsmtp_bench.page import BEGIN, END, PAGE, place
from fastsmtp_bench.served import Served
from fastsmtp_bench.side_by_side import COLUMNS, Row, markdown, summarize
from fastsmtp_bench.workloads import WORKLOADS


def test_pending_adds_what_is_unapplied_and_what_is_due() -> None:
    text = (
        "# HELP fastsmtp_log_unapplied_messages x\n"
        "fastsmtp_log_unapplied_messages 3.0\n"
        'fastsmtp_queue_messages{state="incoming"} 4\n'
        'fastsmtp_queue_messages{state="active"} 5\n'
        'fastsmtp_queue_messages{state="deferred"} 100\n'
        "fastsmtp_log_unapplied_bytes 7\n"
    )
    assert PENDING.findall(text) == ["3.0", "4", "5"]


def rows(*rates: float) -> list[Run]:
    return [Run(rate, 50.0, 10.0, 100.0, 200.0) for rate in rates]


def test_ratios_are_taken_inside_a_round() -> None:
    done = {
        "server": rows(10, 20, 30),
        "sink": rows(10, 40, 30),
        "null": rows(99, 99, 99),
    }
    row = summarize("W1", done)
    assert (row.rate, row.sink_rate, row.rate_ratio) == (20, 30, 1.0)
    assert (row.cpu_ratio, row.ceiling, row.limited) == (1.0, 99, "server")


def test_a_rate_near_the_ceiling_is_marked_as_the_client_s() -> None:
    done = {"server": rows(81), "sink": rows(90), "null": rows(100)}
    assert summarize("W3", done).limited == "client"


def test_the_table_has_a_cell_for_every_column() -> None:
    row = Row("W6", 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 7.0, 8.0, 9.0)
    lines = markdown([row], "where").splitlines()
    assert lines[0] == "where"
    assert {line.count("|") for line in lines[2:]} == {len(COLUMNS) + 1}


def test_the_words_for_both_clients_say_the_same() -> None:
    for work in WORKLOADS.values():
        ours, theirs = work.load_arguments(), work.source_arguments()
        assert ours[ours.index("--sessions") + 1] == theirs[theirs.index("-s") + 1]
        assert ours[ours.index("--size") + 1] == theirs[theirs.index("-l") + 1]
        assert ("--per-connection" in ours) == ("-d" not in theirs)


def test_a_server_in_a_relative_directory_finds_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = Served(Path("home"))
    server.configure()
    data = tmp_path / "home" / "data"
    assert f'data = "{data}"' in server.configuration.read_text()
    assert data.is_dir()


def test_figures_take_their_place_in_the_page() -> None:
    page = f"# A\n\n{BEGIN}\nold\n{END}\n\nafter\n"
    assert place(page, "new\n") == f"# A\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"


def test_the_page_has_a_place_for_figures() -> None:
    assert "new" in place(PAGE.read_text(), "new")
