"""From a load to its verdict: what is read, counted, said and drawn."""

import json
import re
import shutil
import xml.etree.ElementTree as Xml
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fastsmtp import config
from fastsmtp_bench import compare, ledger, place, plots, report, run
from fastsmtp_bench.generator import Generator, Order, Slice
from fastsmtp_bench.histogram import Histogram
from fastsmtp_bench.plots import Axes, Series
from fastsmtp_bench.profiles import OF_MAIL, PROFILES, spread
from fastsmtp_bench.scraped import Page
from fastsmtp_bench.sink import running
from fastsmtp_bench.verdict import because, limits, sentence
from fastsmtp_bench.watching import Look, Spent, busy, cpu

PAGE = """\
# HELP q Messages.
# TYPE q gauge
q{state="active",age="1m"} 3
q{state="active",age="5m"} 2
q{state="hold",age="1m"} 4
plain 1.5
b_bucket{le="1"} 2
b_bucket{le="4"} 5 # {id="x"} 3.1 1.0
b_bucket{le="+Inf"} 6
"""


class TestPage:
    page = Page.parse(PAGE)

    def test_sums_over_the_labels_that_are_not_named(self) -> None:
        assert self.page.total("q") == 9
        assert self.page.total("q", state="active") == 5
        assert self.page.total("plain") == 1.5
        assert self.page.total("absent") == 0

    def test_by_a_label(self) -> None:
        assert self.page.by("q", "age") == {"1m": 7, "5m": 2}

    def test_buckets_hold_what_is_in_them_alone(self) -> None:
        assert self.page.buckets("b") == {"1": 2, "4": 3, "+Inf": 1}


class TestVerdict:
    def test_the_busiest_is_the_limit_and_the_next_is_named(self) -> None:
        found = limits({"loop": 0.93, "sync": 0.6, "machine": 0.99}, 100, 1000)
        said = sentence(8900, 0.041, True, found)
        assert said == (
            "sustains 8,900 messages/s at p99 41 ms; the limit is CPU of the loop "
            "(93%); next: CPU of the machine (99%)"
        )

    def test_the_machine_is_the_limit_when_no_part_is(self) -> None:
        found = limits({"loop": 0.5, "machine": 0.97}, 100, 1000)
        assert because(found).startswith("the limit is CPU of the machine (97%)")

    def test_the_generator_is_named_above_four_fifths_of_its_ceiling(self) -> None:
        for rate, is_it in ((799, False), (801, True)):
            found = limits({"loop": 0.9}, rate, 1000)
            assert (found[0].what == "generator") is is_it

    def test_nobody_is_blamed_when_nothing_is_used_up(self) -> None:
        assert "waits for its clients" in because(limits({"loop": 0.3}, 1, 1000))
        assert "cannot be seen" in because(limits({}, 1, 1000))

    def test_a_rate_that_was_not_held(self) -> None:
        said = sentence(10, 0.0021, False, [])
        assert said.startswith("does not keep up; reaches 10 messages/s at p99 2.10 ms")


def test_time_that_a_thread_waits_for_a_processor_counts_as_busy() -> None:
    one = Look(10.0, {("loop", 1): Spent(1.0, 0.5)}, (0, 0), 0, None)
    two = Look(12.0, {("loop", 1): Spent(2.0, 1.0)}, (0, 0), 0, None)
    assert busy(one, two) == {"loop": 0.75}
    assert cpu(one, two) == {"loop": 1.0}


class TestLedger:
    def test_every_copy_of_every_message_once(self) -> None:
        found = Counter({("a", "1"): 1, ("b", "1"): 1, ("a", "2"): 1, ("b", "2"): 1})
        assert ledger.settle(["1", "2"], found, 2).good

    def test_lost_doubled_and_in_flight(self) -> None:
        found = Counter({("a", "1"): 2, ("a", "3"): 1})
        balance = ledger.settle(["1", "2"], found, 1)
        assert (balance.lost, balance.doubled, balance.unasked) == (["2"], ["1"], 1)
        assert "1 lost (2), 1 there twice (1)" in balance.sentence()

    def test_a_copy_that_is_missing_is_a_loss(self) -> None:
        assert ledger.settle(["1"], Counter({("a", "1"): 1}), 2).lost == ["1"]

    def test_a_copy_too_many_is_a_double(self) -> None:
        found = Counter({("a", "1"): 1, ("b", "1"): 1})
        assert ledger.settle(["1"], found, 1).doubled == ["1"]


class TestProfiles:
    def test_sizes_of_mail_have_their_median_and_mean(self) -> None:
        sizes = [size for size, _ in OF_MAIL]
        assert sizes == sorted(sizes)
        assert sizes[11] < 6 * 1024 < sizes[12]
        assert sum(sizes) / len(sizes) == pytest.approx(15 * 1024, rel=0.1)
        assert len(spread(1000, 1.0, 5)) == 5

    @pytest.mark.parametrize("name", PROFILES)
    def test_processes_share_sessions_and_rate(self, name: str) -> None:
        order = Order(profile=PROFILES[name], port=25, rate=90.0, processes=3)
        words = [order.command(n, "") for n in range(3)]
        sessions = [int(w[w.index("--sessions") + 1]) for w in words]
        assert sum(sessions) == max(PROFILES[name].sessions, 3)
        assert {w[w.index("--rate") + 1] for w in words} == {"30.0"}
        assert len({w[w.index("--tag") + 1] for w in words}) == 3


def svg(text: str) -> Xml.Element:
    return Xml.fromstring(text[text.index("<svg") :])


class TestPlots:
    def test_lines_stay_within_the_picture(self) -> None:
        points = [(0.0, 0.0), (1.0, 7.0), (2.0, 3.0)]
        drawn = svg(plots.lines([Series("a", points)], Axes(x_label="x & y")))
        [line] = drawn.iter("polyline")
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert plots.LEFT <= x <= plots.WIDTH - plots.RIGHT
            assert plots.TOP <= y <= plots.HEIGHT - plots.BOTTOM

    def test_areas_stand_on_each_other(self) -> None:
        both = [Series("a", [(0, 1), (1, 1)]), Series("b", [(0, 3), (1, 3)])]
        low, high = svg(plots.stacked(both, Axes(x_label="x"))).iter("polygon")
        roof = low.attrib["points"].split()[:2]
        floor = high.attrib["points"].split()[2:][::-1]
        assert roof == floor

    @pytest.mark.parametrize("draw", [plots.lines, plots.stacked])
    def test_nothing_can_be_drawn_too(self, draw: Any) -> None:
        svg(draw([], Axes(x_label="x")))
        svg(plots.bars([], Axes(x_label="x")))

    @pytest.mark.parametrize("top", [0.003, 1, 7, 99, 12_345, 2.5e6])
    def test_ticks_are_few_and_reach_the_top(self, top: float) -> None:
        found = plots.ticks(top)
        assert found[-1] >= top * 0.999
        assert 3 <= len(found) <= 8


def phase(rates: list[float], offered: float = 0.0) -> dict[str, Any]:
    whole = {"p50": 0.001, "p99": 0.004, "p99.9": 0.009, "histogram": [[900, 5]]}
    slices = [
        {"at": n + 1.0, "rate": r, "p50": 0.001, "p99": 0.004, "errors": 0, "behind": 0}
        for n, r in enumerate(rates)
    ]
    return {
        "name": "x",
        "offered": offered,
        "rate": rates[0],
        "limited_by_the_generator": True,
        "server_cpu_us": 50.0,
        "generator_cpu_us": 30.0,
        "counts": {"acknowledged": 5},
        "replies": {},
        "limits": [["loop", 0.9]],
        "whole": whole,
        "waited": whole,
        "slices": slices,
        "looks": [],
        "errors": [],
        "behind": 0,
    }


def document(rates: list[float]) -> dict[str, Any]:
    return {
        "machine": "m",
        "processes": 1,
        "ceiling": 9000.0,
        "target": "<t>",
        "profile": {"name": "p", "what": "w"},
        "at": "now",
        "verified": None,
        "verdict": {
            "sentence": "sustains <x>",
            "rate": rates[0],
            "sustained": True,
            "limited_by_the_generator": True,
            "interrupted": False,
            "drained": 0.1,
        },
        "phases": [phase(rates)],
    }


class TestCompare:
    quiet = [1000.0, 1003.0, 998.0, 1001.0, 999.0, 1002.0, 1000.0]

    def verdicts(self, a: list[float], b: list[float]) -> dict[str, str]:
        found = compare.changes(document(a), document(b))
        return {change.what: change.verdict for change in found}

    def test_a_change_beyond_noise(self) -> None:
        more = [rate * 1.1 for rate in self.quiet]
        assert self.verdicts(self.quiet, more)["closed loop: messages/s"] == "better"
        assert self.verdicts(more, self.quiet)["closed loop: messages/s"] == "worse"

    @pytest.mark.parametrize(
        ("generator", "verdict"), [(30.0, "worse"), (27.0, "no change beyond noise")]
    )
    def test_cpu_that_the_machine_changed_is_not_the_server_s(
        self, generator: float, verdict: str
    ) -> None:
        a, b = document(self.quiet), document(self.quiet)
        phase = a["phases"][0]
        phase["generator_cpu_us"] = generator
        phase["server_cpu_us"] = b["phases"][0]["server_cpu_us"] * 0.88
        found = {c.what: c.verdict for c in compare.changes(a, b)}
        assert found["closed loop: server CPU µs"] == verdict
        assert bool(compare.unlike(a, b)) is (generator != 30.0)

    def test_two_percent_is_none(self) -> None:
        more = [rate * 1.02 for rate in self.quiet]
        same = self.verdicts(self.quiet, more)["closed loop: messages/s"]
        assert same == "no change beyond noise"

    def test_what_scatters_must_move_further(self) -> None:
        wild = [600.0, 1500.0, 800.0, 1300.0, 700.0, 1400.0, 1000.0]
        more = [rate * 1.1 for rate in wild]
        same = self.verdicts(wild, more)["closed loop: messages/s"]
        assert same == "no change beyond noise"

    def test_latency_that_grows_is_worse(self) -> None:
        change = compare.Change("p99", 1.0, 2.0, 0.1, better=False)
        assert change.verdict == "worse"

    def test_other_machines_are_named(self) -> None:
        other = document(self.quiet) | {"machine": "n", "ceiling": 5000.0}
        said = compare.text(document(self.quiet), other)
        assert "not alike: machine: m and n" in said
        assert "5,000 messages/s: the machine was not the same" in said

    def test_its_exit_status(self, tmp_path: Path) -> None:
        a, b, bad = (tmp_path / name for name in ("a", "b", "bad"))
        a.write_text(json.dumps(document(self.quiet)))
        b.write_text(json.dumps(document([r * 0.5 for r in self.quiet])))
        bad.write_text("{}")
        assert compare.main([str(a), str(a)]) == 0
        assert compare.main([str(a), str(b)]) == 1
        assert compare.main([str(a), str(bad)]) == 2


def test_the_page_needs_nothing_and_names_what_it_must() -> None:
    page = report.html(document(TestCompare.quiet))
    assert "sustains &lt;x&gt;" in page
    assert "limited by the generator" in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="|url\(', page)


def test_a_borrowed_configuration_listens_only_where_it_is_told(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.toml").write_text(
        'hostname = "mx.example.test"\ndata = "data"\nuser = "mail"\n'
        '[smtp]\nlisten = ["0.0.0.0:25"]\n[lmtp]\nlisten = ["127.0.0.1:24"]\n'
        '[domains."example.test"]\n'
    )
    loaded = config.load(tmp_path / "x.toml", {})
    ports = {"smtp.listen": 4025, "metrics.listen": 4099}
    given = place.overrides(loaded, tmp_path / "other", ports)
    other = config.load(tmp_path / "x.toml", given)
    assert other.data == tmp_path / "other/data"
    assert other.run.is_relative_to(tmp_path / "other")
    assert other.smtp.listen == ["127.0.0.1:4025"]
    assert (other.lmtp.listen, other.submission.listen) == ([], [])
    assert other.metrics.listen == "127.0.0.1:4099"
    assert other.user == ""


compiled = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]


class TestRuns:
    pytestmark = compiled

    def test_processes_are_added_up(self) -> None:
        told: list[Slice] = []
        with running() as null:
            order = Order(
                profile=PROFILES["W1"],
                port=null.port,
                messages=1000,
                processes=3,
                interval=0.01,
            )
            outcome = Generator(order).run(told.append)
        assert outcome.total.counts["acknowledged"] == 1000
        assert outcome.total.whole.total == 1000
        assert sum(s.counts["acknowledged"] for s in told) == 1000
        merged = Histogram()
        for one in told:
            merged.merge(one.waited)
        assert merged.pairs() == outcome.total.waited.pairs()

    @pytest.mark.parametrize("profile", ["mx", "submission", "lmtp"])
    def test_its_own_server(
        self, tmp_path: Path, profile: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["--profile", profile, "--rate", "40", "--seconds", "1.5"]
        words += ["--directory", str(tmp_path), "--output", str(tmp_path / "r")]
        status = run.main([*words, "--verify"])
        said = capsys.readouterr()
        found = json.loads((tmp_path / "r.json").read_text())
        # whether the rate is held is a matter of who else wants the machine
        assert status == (0 if found["verdict"]["sustained"] else 1), said
        assert "acknowledged messages are there once" in said.out
        counted = found["phases"][0]["counts"]["acknowledged"]
        assert 1 < counted < found["verified"]["acknowledged"]  # the warm-up's too
        assert "<svg" in (tmp_path / "r.html").read_text()
        assert [p.name for p in tmp_path.iterdir()] in (
            ["r.json", "r.html"],
            ["r.html", "r.json"],
        )

    def test_ones_own_configuration(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "own.toml"
        path.write_text(
            'hostname = "mx.example.test"\ndata = "data"\n[domains."own.test"]\n'
        )
        words = ["-c", str(path), "--profile", "W5", "--rate", "200", "--verify"]
        words += ["--seconds", "1", "--output", str(tmp_path / "r")]
        assert run.main(words) == 0, capsys.readouterr()
        assert not (tmp_path / "data").exists()
        assert "are there once" in capsys.readouterr().out

    def test_a_sink_is_verified_by_its_record(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        record = tmp_path / "record"
        with running({}, "--record", str(record)) as null:
            words = ["--target", f"127.0.0.1:{null.port}", "--record", str(record)]
            words += ["--rate", "300", "--seconds", "1", "--profile", "W5"]
            words += ["--verify", "--output", str(tmp_path / "r")]
            assert run.main(words) == 0
        assert "acknowledged messages are there once" in capsys.readouterr().out
