"""The compiled body scan against its slow twin, on input cut anywhere."""

import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsmtp.wire.scan import BodyScanner
from tests.model.framing import CELLS, CLASSES, Facts, frame, scan

ROOT = Path(__file__).parent.parent
END = b"\r\n.\r\n"
HEADER = (
    b"Received: from a (b [192.0.2.1])\r\n\tby c; Tue, 24 Nov 2026 04:12:00 +0000\r\n"
    b"return-PATH:\r\n <x@y>\r\nSubject: " + b"s" * 60 + b"\r\nReceived: x\r\n\r\n"
)
FIXED = [
    b".\r\n",
    b"\r\n.\r\nQUIT\r\n",
    b"..\r\n...\r\n.x\r\n. \r\n.\r\n",
    b".\r.\r\n.\r\r\n.\n.\r\n" + END,
    HEADER + b"text\r\n..dot\r\n" + b"x" * 130 + END + b"RSET\r\n",
    HEADER + b"\xc3\xa4 \x00 \r \n \r\r\n\n\r\n" + b"y" * 70 + b"\r" + END,
    b"Return-Path : a\r\n b\r\nReturn-Path     : five\r\nReceive: no\r\n" + END,
    b"Return-Path: a\r\n.. b\r\n. c\r\nReturn-Path:" + b"z" * 80 + END,
    b"Re\r\nReturn-Path\r\nr\r\nReceived\r\n:\r\nReturn-Path: \r\r\n.\r\n",
    b"Return-Path: x\r\n\r\n a\r\n" + b"." * 66 + END,
    (b"z" * 62 + b"\r\n.") * 3 + b"\r\n",
    (b"z" * 61 + b"\r\n") * 3 + b"\r\r" + b"\n" * 64 + END,
]
PIECES = [
    *(b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n\r\n", b"\n.\n", b"\r\n.\r", END),
    *(b"Received", b"received:", b"RETURN-path", b"Return-Path:", b"\r\nReceived:"),
    *(b"\r\nReturn-Path:", b" ", b"\t", b":", b"R", b"\r\n ", b"Subject: x\r\n"),
    *(b"x", b"x" * 59, b"x" * 64, b"\x00", b"\xff", b"\r\n" * 20, b"ab\r\n" * 20),
]
BODIES = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3))).map(
    b"".join
)


def facts(
    data: bytes, cuts: Iterable[int], keep: bool = True, kind: type = BodyScanner
) -> tuple[BodyScanner, Facts]:
    """What the compiled scan says when `data` comes in pieces."""
    scanner = kind(keep)
    taken = 0
    edges = [0, *sorted(cuts), len(data)]
    for begin, end in pairwise(edges):
        taken += scanner.feed(data[begin:end])
    names = (name for name in Facts._fields if name not in ("taken", "output"))
    values = {name: getattr(scanner, name) for name in names}
    return scanner, Facts(taken=taken, output=bytes(scanner.output), **values)


@pytest.mark.parametrize("data", FIXED)
def test_rfc_1_any_single_cut_gives_the_facts_of_the_model(data: bytes) -> None:
    expected = scan(data)
    assert expected.ended
    for cut in range(len(data) + 1):
        assert facts(data, [cut])[1] == expected


@pytest.mark.parametrize("data", FIXED)
def test_octet_by_octet_gives_the_same(data: bytes) -> None:
    assert facts(data, range(len(data)))[1] == scan(data)


CUTS = st.lists(st.integers(0, 400))


def agree(body: bytes, cuts: list[int], keep: bool) -> None:
    data = body + END + b"NOOP\r\n"
    expected = scan(data)
    if not keep:
        expected = expected._replace(output=b"")
    assert facts(data, [cut % len(data) for cut in cuts], keep)[1] == expected


@settings(max_examples=150)
@given(BODIES, CUTS, st.booleans())
def test_random_input_cut_at_random_agrees_with_the_model(
    body: bytes, cuts: list[int], keep: bool
) -> None:
    agree(body, cuts, keep)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(BODIES, CUTS, st.booleans())
def test_much_random_input_agrees_with_the_model(
    body: bytes, cuts: list[int], keep: bool
) -> None:
    agree(body, cuts, keep)


@given(BODIES)
def test_before_the_end_facts_are_those_of_what_came(body: bytes) -> None:
    expected = scan(body)
    _, found = facts(body, [])
    if expected.ended:
        assert found == expected
        return
    held = {"output": b"", "received": 0, "return_paths": 0, "left_out": 0}
    assert found._replace(**held) == expected._replace(**held)
    assert expected.output.startswith(found.output) or expected.left_out


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> type:
    """`BodyScanner` as processors without SSE2 have it."""
    where = tmp_path_factory.mktemp("portable")
    source, library = str(where / "scan.c"), str(where / "scan.so")
    translate = [sys.executable, "-m", "cython", "-3", "-I", "ext", "ext/wire/scan.pyx"]
    subprocess.run([*translate, "-o", source], cwd=ROOT, check=True)
    include = sysconfig.get_path("include")
    build = ["gcc", "-shared", "-fPIC", "-O1", "-DBODYSCAN_PORTABLE", "-I", include]
    subprocess.run([*build, source, "-o", library], check=True)
    loader = ExtensionFileLoader("fastsmtp.wire.scan", library)
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module.BodyScanner


@pytest.mark.slow
def test_the_portable_scan_gives_the_same(portable: type) -> None:
    assert portable is not BodyScanner
    for data in FIXED:
        for cut in range(len(data) + 1):
            assert facts(data, [cut], kind=portable)[1] == scan(data)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(body=BODIES, cuts=CUTS)
def test_the_portable_scan_agrees_with_the_other(
    portable: type, body: bytes, cuts: list[int]
) -> None:
    data = body + END
    found = facts(data, [cut % len(data) for cut in cuts], kind=portable)[1]
    assert found == facts(data, [])[1]


def test_the_table_of_the_model_is_complete() -> None:
    seen = {state for state, _ in CELLS}
    assert len(CELLS) == 20
    assert set(CELLS) == set(product(seen, [*CLASSES.values(), "other"]))


ENDS = [b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r", b"\n\n", b"\x00\r\n", b"\r\x00\n"]
SMUGGLED = [
    (before, after)
    for before, after in product(ENDS, [*ENDS, b"\r\r\n", b" \r\n", b"\x85"])
    if not (before.endswith(b"\r\n") and after == b"\r\n")
]


@pytest.mark.parametrize(("before", "after"), SMUGGLED)
def test_rfc_1_no_other_ending_ends_the_data(before: bytes, after: bytes) -> None:
    hidden = b"text" + before + b"." + after + b"MAIL FROM:<evil@x.test>\r\n"
    data = hidden + b"." + b"\r\n" + b"QUIT\r\n"
    for cut in range(len(data)):
        scanner, found = facts(data, [cut])
        assert scanner.ended
        assert found.taken == len(hidden) + 3
        assert b"MAIL FROM" in found.output


def test_rfc_1_a_bare_cr_before_the_end_is_text_and_reported() -> None:
    data = b"text\r\r\n.\r\n"
    _, found = facts(data, [])
    assert (found.ended, found.output, found.bare_cr) == (True, b"text\r\r\n", (4, 1))


@given(BODIES)
def test_rfc_2_what_a_client_stuffs_is_what_we_keep(body: bytes) -> None:
    text = b"Subject: x\r\n\r\n" + body.replace(b"\r", b"").replace(b"\n", b"\r\n")
    text += b"" if text.endswith(b"\r\n") else b"\r\n"
    stuffed = text.replace(b"\r\n.", b"\r\n..")
    _, found = facts(stuffed + b".\r\n", [])
    assert (found.output, found.size) == (text, len(text))


def test_rfc_2_exactly_one_leading_dot_is_taken_away() -> None:
    assert frame(b"..\r\n.a\r\n...\r\n.\r\n")[2] == b".\r\na\r\n..\r\n"
    assert facts(b"..\r\n.a\r\n...\r\n.\r\n", [])[1].output == b".\r\na\r\n..\r\n"


def test_rfc_3_any_text_line_length_is_taken_and_reported() -> None:
    for length in (1000, 1001, 100_000):
        line = b"x" * (length - 2) + b"\r\n"
        _, found = facts(b"a\r\n." + line + b"b\r\n.\r\n", [])
        assert (found.longest, found.longest_line) == (length, 2)


def test_rfc_34_size_counts_neither_dots_nor_the_end() -> None:
    _, found = facts(b"..a\r\nReturn-Path: x\r\n.\r\n", [])
    assert found.size == len(b".a\r\nReturn-Path: x\r\n")
    assert len(found.output) == found.size - found.left_out


def test_places_name_offset_and_line() -> None:
    _, found = facts(b"a\r\n..\xe4\r\n\x00\r\nx\ry\nz\r\n.\r\n", [])
    assert found.eight_bit == (4, 2)
    assert found.nul == (7, 3)
    assert found.bare_cr == (11, 4)
    assert found.bare_lf == (13, 4)
