"""The text of a scrape, read back with the reader of the Prometheus client."""

import os
import time
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as strictly,
)
from prometheus_client.parser import text_string_to_metric_families
from pytest_benchmark.fixture import BenchmarkFixture

from fastsmtp import scrape
from fastsmtp.blocks import CELLS, DELIVERY, PULSE, SMTP, STORE
from fastsmtp.delivery import counts as delivery
from fastsmtp.live import ADMISSION, AGES, STATES_OF_QUEUE
from fastsmtp.metrics import GAUGES
from fastsmtp.pages import Pages
from fastsmtp.pulse import CPU, RESTARTS
from fastsmtp.queue.listing import Depth
from fastsmtp.queue.message import State
from fastsmtp.scrape import Scrape
from fastsmtp.smtp import counts as smtp
from fastsmtp.store.counts import Count


def read(text: str) -> dict[str, float]:
    """name{labels} -> value"""
    return {
        s.name + scrape.rendered(s.labels): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages.create(tmp_path / "cells", CELLS, 4)


def test_counters_of_all_processes_add_up(pages: Pages) -> None:
    for slot in (1, 2):
        mine = SMTP["smtp"].of(pages.claim(slot, "receive", slot))
        mine[smtp.MESSAGES.place("accepted")] += 5
        mine[smtp.OPEN] += 2
    server = Scrape(pages, {})
    accepted = 'fastsmtp_smtp_messages_total{listener="smtp",result="accepted"}'
    open_now = 'fastsmtp_smtp_connections{listener="smtp"}'
    samples = read(server.text())
    assert (samples[accepted], samples[open_now]) == (10, 4)
    pages.fold(1, GAUGES)
    samples = read(server.text())
    assert (samples[accepted], samples[open_now]) == (10, 2)


def test_what_has_no_label_for_the_listener_is_added_up_over_them(pages: Pages) -> None:
    cells = pages.claim(1, "receive", 1)
    for block in SMTP.values():
        mine = block.of(cells)
        mine[smtp.MESSAGES.place("accepted")] += 1
        mine[smtp.COMMANDS.place("MAIL", "2")] += 3
        smtp.SIZE.observe(mine, 100)
    samples = read(Scrape(pages, {}).text())
    for listener in SMTP:
        name = "fastsmtp_smtp_messages_total"
        assert samples[f'{name}{{listener="{listener}",result="accepted"}}'] == 1
    name = "fastsmtp_smtp_commands_total"
    assert samples[f'{name}{{command="MAIL",code_class="2"}}'] == 3 * len(SMTP)
    assert samples["fastsmtp_smtp_message_size_bytes_count"] == len(SMTP)
    assert samples["fastsmtp_smtp_message_size_bytes_sum"] == 100 * len(SMTP)


def test_histograms_are_cumulative_with_sum_and_count(pages: Pages) -> None:
    mine = SMTP["smtp"].of(pages.claim(1, "receive", 1))
    for octets in (100, 300, 300, 10**9):
        smtp.SIZE.observe(mine, octets)
    samples = read(Scrape(pages, {}).text())
    name = "fastsmtp_smtp_message_size_bytes"
    assert samples[f'{name}_bucket{{le="256.0"}}'] == 1
    assert samples[f'{name}_bucket{{le="1024.0"}}'] == 3
    assert samples[f'{name}_bucket{{le="+Inf"}}'] == 4
    assert samples[f"{name}_count"] == 4
    assert samples[f"{name}_sum"] == 10**9 + 700


def test_durations_are_in_seconds(pages: Pages) -> None:
    smtp.ACCEPT.observe(SMTP["smtp"].of(pages.claim(1, "receive", 1)), 0.0025)
    samples = read(Scrape(pages, {}).text())
    assert samples["fastsmtp_smtp_accept_duration_seconds_sum"] == 0.0025


def test_processes_are_measured(pages: Pages) -> None:
    pages.claim(1, "keep", 1)
    pages.tell(1, "serving")
    samples = read(Scrape(pages, {}).text())
    assert samples['process_resident_memory_bytes{role="keep"}'] > 2**20
    assert samples['fastsmtp_process_anonymous_memory_bytes{role="keep"}'] > 2**20
    assert samples['process_open_fds{role="keep"}'] >= 3
    assert samples['process_open_fds{role="receive"}'] == 0
    assert samples['fastsmtp_workers{role="keep"}'] == 1
    assert samples['fastsmtp_worker_state{state="serving"}'] == 1


def test_each_process_is_told_by_itself(pages: Pages) -> None:
    for slot in (2, 3):
        cells = pages.claim(slot, "receive", slot)
        SMTP["smtp"].of(cells)[smtp.MESSAGES.place("accepted")] = 10 * slot
        SMTP["submission"].of(cells)[smtp.MESSAGES.place("accepted")] = 1
        SMTP["lmtp"].of(cells)[smtp.OPEN] = slot
        PULSE.of(cells)[CPU.place("receive")] = 1_500_000
    PULSE.of(pages.claim(1, "keep", 1))[CPU.place("keep")] = 20
    samples = read(Scrape(pages, {}).text())
    second = '{role="receive",worker="2"}'
    assert samples[f"fastsmtp_process_cpu_seconds_total{second}"] == 1.5
    assert samples[f"fastsmtp_process_messages_total{second}"] == 21
    assert samples[f"fastsmtp_process_connections{second}"] == 2
    assert samples[f"fastsmtp_process_resident_memory_bytes{second}"] > 2**20
    keeper = '{role="keep",worker="1"}'
    assert samples[f"fastsmtp_process_cpu_seconds_total{keeper}"] == 0.00002
    assert f"fastsmtp_process_connections{keeper}" not in samples


def test_whether_mail_is_taken(pages: Pages) -> None:
    def levels() -> dict[str, float]:
        name = "fastsmtp_admission_state"
        samples = read(Scrape(pages, {}).text())
        return {each: samples[f'{name}{{level="{each}"}}'] for each in ADMISSION}

    assert levels() == {"open": 0, "deferring": 0, "draining": 0}
    for slot, state in ((1, "serving"), (2, "serving"), (3, "draining")):
        pages.claim(slot, "receive", slot)
        pages.tell(slot, state)
    pages.claim(4, "keep", 4)
    pages.tell(4, "serving")
    pages.excuse(2, "the disk is nearly full")
    assert levels() == {"open": 1, "deferring": 1, "draining": 1}


def test_a_process_that_is_gone_counts_nothing(pages: Pages) -> None:
    pid = os.spawnv(os.P_WAIT, "/bin/true", ["true"]) or 2**22 - 1
    assert scrape.memory(pid) == (0, 0)
    assert scrape.descriptors(pid) == 0
    assert scrape.descriptor_limit(pid) == 0


def test_restarts_are_counted_by_role(pages: Pages) -> None:
    PULSE.of(pages.claim(1, "supervise", 1))[RESTARTS.place("keep")] += 3
    samples = read(Scrape(pages, {}).text())
    assert samples['fastsmtp_worker_restarts_total{role="keep"}'] == 3


def test_incoming_is_what_the_index_has_not(pages: Pages) -> None:
    mine = STORE.of(pages.claim(1, "receive", 1))
    mine[Count.UNAPPLIED_MESSAGES], mine[Count.UNAPPLIED_OCTETS] = 4, 4096
    samples = read(Scrape(pages, {}).text())
    assert samples['fastsmtp_queue_messages{state="incoming"}'] == 4
    assert samples['fastsmtp_queue_bytes{state="incoming"}'] == 4096
    assert samples["fastsmtp_log_unapplied_messages"] == 4


def test_the_depth_of_the_queue_is_asked_for(pages: Pages) -> None:
    depth = Depth()
    depth.count(minute=100, messages=3, octets=300, now=160 * 60_000)
    depth.count(minute=159, messages=1, octets=10, now=160 * 60_000)
    text = Scrape(pages, {}, lambda: {State.DEFERRED: depth}).text()
    found = {k[9:]: v for k, v in read(text).items() if "deferred" in k and v}
    assert found == {
        'queue_messages{state="deferred"}': 4,
        'queue_bytes{state="deferred"}': 310,
        'queue_messages_by_age{state="deferred",age="1h"}': 3,
        'queue_messages_by_age{state="deferred",age="1m"}': 1,
        'queue_oldest_message_timestamp_seconds{state="deferred"}': 6000,
    }


def test_the_queue_and_its_metrics_agree_on_words() -> None:
    assert tuple(Depth().ages) == AGES
    assert {*State, "incoming"} == set(STATES_OF_QUEUE)


def test_a_store_that_cannot_be_read_leaves_the_rest(pages: Pages) -> None:
    samples = read(Scrape(pages, {}, depth=lambda: None).text())
    assert samples['fastsmtp_queue_messages{state="deferred"}'] == 0


def test_disks(pages: Pages, tmp_path: Path) -> None:
    samples = read(Scrape(pages, {"data": tmp_path, "run": tmp_path / "no"}).text())
    assert samples['fastsmtp_disk_free_bytes{path_role="data"}'] > 0
    assert samples['fastsmtp_disk_free_bytes{path_role="run"}'] == 0


def test_a_bad_reload_is_seen(pages: Pages) -> None:
    server = Scrape(pages, {})
    server.reloaded(False)
    samples = read(server.text())
    assert samples["fastsmtp_config_last_reload_successful"] == 0
    assert samples["fastsmtp_config_last_reload_success_timestamp_seconds"] > 1e9


def test_label_values_are_escaped() -> None:
    assert scrape.rendered({"a": 'b"c\\d\n'}) == r'{a="b\"c\\d\n"}'


@pytest.mark.parametrize(
    ("head", "ref"),
    [("0123456789abcdef", None), ("ref: refs/heads/x", "fedcba98765432")],
)
def test_the_commit_of_a_checkout(tmp_path: Path, head: str, ref: str | None) -> None:
    (tmp_path / ".git/refs/heads").mkdir(parents=True)
    (tmp_path / ".git/HEAD").write_text(head + "\n")
    if ref:
        (tmp_path / ".git/refs/heads/x").write_text(ref + "\n")
    assert scrape.commit(tmp_path) == (ref or head)[:12]
    assert scrape.commit(tmp_path / "nowhere") == ""


def test_a_scrape_is_quick(pages: Pages, benchmark: BenchmarkFixture) -> None:
    pages.claim(1, "all", 1)
    server = Scrape(pages, {})
    text = benchmark(server.text)
    assert text.count("\n") > 500


def test_certificates_are_told_by_their_names(pages: Pages) -> None:
    server = Scrape(pages, {}, expiries=lambda: {"mx.example.test": 1.8e9})
    name = "fastsmtp_tls_certificate_not_after_timestamp_seconds"
    assert f'{name}{{name="mx.example.test"}} 1800000000' in server.text()


def test_the_fullest_destinations_are_named(tmp_path: Path) -> None:
    pages = Pages.create(tmp_path / "cells", CELLS, 1)
    waiting = [("big.test", 7), ("other", 2)]
    text = Scrape(pages, {}, fullest=lambda: waiting).text()
    name = "fastsmtp_queue_destination_messages"
    assert f'\n{name}{{destination="big.test"}} 7\n' in text
    assert f'\n{name}{{destination="other"}} 2\n' in text


def opened(pages: Pages) -> str:
    server = Scrape(pages, {}, expiries=lambda: {"mx.example.test": 1.8e9})
    server.spell = lambda id: f"Q{id}"
    return server.open_text()


def test_openmetrics_is_read_by_its_strict_reader(pages: Pages) -> None:
    mine = SMTP["smtp"].of(pages.claim(1, "receive", 1))
    mine[smtp.MESSAGES.place("accepted")] = 5
    text = opened(pages)
    families = {family.name: family for family in strictly(text)}
    assert families["fastsmtp_smtp_messages"].type == "counter"
    assert families["fastsmtp_smtp_connections"].type == "gauge"
    assert families["fastsmtp_smtp_connections_total"].type == "unknown"
    assert text.endswith("\n# EOF\n")
    old = {line for line in Scrape(pages, {}).text().splitlines() if line[0] != "#"}
    assert {line.split()[0] for line in text.splitlines() if line[0] != "#"} >= {
        line.split()[0] for line in old
    }


def exemplars(text: str) -> dict[float, tuple[str, float, float]]:
    """le -> queue id, value and time"""
    found = {}
    for family in strictly(text):
        for sample in family.samples:
            if sample.exemplar:
                one = sample.exemplar
                at = float(one.timestamp)
                found[float(sample.labels["le"])] = (
                    one.labels["queue_id"],
                    one.value,
                    at,
                )
    return found


def test_a_bucket_carries_the_last_message(pages: Pages) -> None:
    now = time.monotonic()
    for slot, listener, id, seconds, ago in (
        (1, "smtp", 7, 0.0007, 30),
        (2, "smtp", 8, 0.0008, 20),  # the newest of its bucket
        (3, "submission", 9, 0.0009, 25),
        (3, "submission", 10, 400.0, 5),  # above the last edge
    ):
        if not any(page.slot == slot for page in pages.live()):
            pages.claim(slot, "receive", slot)
        cells = SMTP[listener].of(pages._cells(slot))
        smtp.ACCEPT_SEEN.observe(cells, seconds, id, now - ago)
    found = exemplars(opened(pages))
    assert {le: one[:2] for le, one in found.items()} == {
        0.001: ("Q8", 0.0008),
        float("inf"): ("Q10", 400.0),
    }
    assert found[0.001][2] == pytest.approx(time.time() - 20, abs=2)
    assert " # {" not in Scrape(pages, {}).text()


def test_what_is_read_while_it_is_written_is_left_out(pages: Pages) -> None:
    cells = SMTP["smtp"].of(pages.claim(1, "receive", 1))
    smtp.ACCEPT_SEEN.observe(cells, 0.0007, 7, 1.0)
    place = smtp.ACCEPT_SEEN.first + 3 * 3
    assert list(cells[place : place + 3]) == [7, 700, 1_000_000]
    cells[place + 1] = 70_000  # of another bucket
    assert exemplars(opened(pages)) == {}


def test_the_dead_leave_no_exemplars(pages: Pages) -> None:
    for slot in (1, 2):
        cells = SMTP["smtp"].of(pages.claim(slot, "receive", slot))
        smtp.ACCEPT_SEEN.observe(cells, 0.0007, 7, 1.0)
    pages.fold(1, GAUGES)
    pages.fold(2, GAUGES)
    assert exemplars(opened(pages)) == {}
    assert sum(pages.sums()) == 2 * (1 + 700)  # counted twice


def test_late_deliveries_are_told_by_transport(pages: Pages) -> None:
    cells = DELIVERY.of(pages.claim(1, "keep", 1))
    seen = delivery.delay("smtp", "delivered")
    seen.observe(cells, 42.0, 5, time.monotonic())
    lines = [line for line in opened(pages).splitlines() if "queue_id" in line]
    (line,) = lines
    assert 'transport="smtp",result="delivered",le="60.0"' in line
    assert '# {queue_id="Q5"} 42 ' in line
