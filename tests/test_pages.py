"""The shared pages: no counter goes back, no gauge outlives its process."""

import multiprocessing
import os
from pathlib import Path

import pytest

from fastsmtp.errors import FormatTooNew
from fastsmtp.pages import Pages

CELLS = 5


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages.create(tmp_path / "cells", CELLS, 3)


def test_cells_begin_at_0_and_add_up(pages: Pages) -> None:
    first, second = pages.claim(1, "receive", 7), pages.claim(3, "receive", 8)
    assert first.tolist() == [0] * CELLS
    first[0] += 2
    second[0] += 3
    second[4] += 1
    assert pages.sums() == [5, 0, 0, 0, 1]


def test_what_several_tell_alike_is_not_added(pages: Pages) -> None:
    for slot in (1, 2):
        cells = pages.claim(slot, "receive", 1)
        cells[0], cells[1] = 10 + slot, 5
    assert pages.sums(largest=[0]) == [12, 10, 0, 0, 0]


def test_a_slot_says_who_counts_in_it(pages: Pages) -> None:
    pages.claim(2, "keep", 9)
    pages.tell(2, "serving")
    (page,) = pages.live()
    assert page[:4] == (2, os.getpid(), 9, "keep")
    assert page.state == "serving"


def test_an_excuse_is_cut_and_goes_with_its_process(pages: Pages) -> None:
    cells = pages.claim(2, "receive", 9)
    pages.excuse(2, "the disk is full")
    assert [page.excuse for page in pages.live()] == ["the disk is full"]
    pages.excuse(2, "é" * 500)
    assert {*next(pages.live()).excuse} <= {"é", "\ufffd"}
    assert cells.tolist() == [0] * CELLS
    pages.fold(2, gauges=[])
    pages.claim(2, "receive", 10)
    assert next(pages.live()).excuse == ""


def test_folding_keeps_counters_and_drops_gauges(pages: Pages) -> None:
    cells = pages.claim(1, "receive", 1)
    cells[0], cells[1] = 10, 4
    pages.fold(1, gauges=[1])
    assert pages.sums() == [10, 0, 0, 0, 0]
    assert list(pages.live()) == []


def test_sums_never_go_back_over_many_lives(pages: Pages) -> None:
    last = 0
    for life in range(50):
        cells = pages.claim(1, "receive", life)
        cells[0] += life % 3
        before = pages.sums()[0]
        pages.fold(1, gauges=[])
        assert pages.sums()[0] == before >= last
        last = before


def test_folding_twice_adds_once(pages: Pages) -> None:
    pages.claim(1, "receive", 1)[0] = 10
    pages.fold(1, gauges=[])
    pages.fold(1, gauges=[])
    assert pages.sums()[0] == 10


@pytest.mark.parametrize("slot", [0, 4, -1])
def test_there_are_no_other_slots(pages: Pages, slot: int) -> None:
    with pytest.raises(ValueError, match="slot"):
        pages.claim(slot, "keep", 1)


def test_a_slot_is_taken_once(pages: Pages) -> None:
    pages.claim(1, "keep", 1)
    with pytest.raises(ValueError, match="taken"):
        pages.claim(1, "keep", 2)


def test_a_new_server_begins_at_0(pages: Pages, tmp_path: Path) -> None:
    pages.claim(1, "keep", 1)[0] = 10
    assert Pages.create(tmp_path / "cells", CELLS, 3).sums() == [0] * CELLS


def test_another_layout_is_refused(pages: Pages, tmp_path: Path) -> None:
    with pytest.raises(FormatTooNew, match="another version"):
        Pages.open(tmp_path / "cells", CELLS + 1)


def count(path: Path, times: int) -> None:
    cells = Pages.open(path, CELLS).claim(2, "receive", 1)
    for _ in range(times):
        cells[3] += 1


@pytest.mark.slow
def test_what_another_process_counted_is_seen(pages: Pages, tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=count, args=(tmp_path / "cells", 1000)
    )
    process.start()
    process.join()
    assert pages.sums()[3] == 1000
    pages.fold(2, gauges=[])
    assert pages.sums()[3] == 1000


def test_a_name_keeps_its_place(tmp_path: Path, pages: Pages) -> None:
    assert pages.names() == [""] * 16
    pages.name(["a", "b"])
    pages.name(["c", "b"])
    assert pages.names()[:4] == ["a", "b", "c", ""]
    assert Pages.open(tmp_path / "cells", CELLS).names()[:3] == ["a", "b", "c"]
    many = ["b", *(f"n{n}" for n in range(15))]
    pages.name(many)
    assert sorted(pages.names()) == sorted(many)
    assert pages.names()[1] == "b"


def test_names_are_not_counted(pages: Pages) -> None:
    pages.name(["\x7f" * 64] * 1)
    pages.claim(3, "keep", 1)
    assert pages.sums() == [0] * CELLS
