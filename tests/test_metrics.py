"""The declarations: names by the rules of Prometheus, all there from the start."""

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from fastsmtp import metrics
from fastsmtp.blocks import CELLS
from fastsmtp.live import LIVE
from fastsmtp.metrics import GAUGES, LARGEST, counted
from fastsmtp.pages import Pages
from fastsmtp.scrape import Scrape
from fastsmtp.series import Family

PROMISED = {
    "fastsmtp_build_info": "",
    "fastsmtp_start_time_seconds": "",
    "fastsmtp_config_last_reload_success_timestamp_seconds": "",
    "fastsmtp_config_last_reload_successful": "",
    "fastsmtp_worker_state": "state",
    "fastsmtp_smtp_connections": "listener",
    "fastsmtp_smtp_connections_total": "listener family result",
    "fastsmtp_smtp_disconnects_total": "listener reason",
    "fastsmtp_smtp_commands_total": "command code_class",
    "fastsmtp_smtp_command_duration_seconds": "command code_class",
    "fastsmtp_smtp_messages_total": "listener result",
    "fastsmtp_smtp_message_size_bytes": "",
    "fastsmtp_smtp_message_recipients": "",
    "fastsmtp_smtp_accept_duration_seconds": "",
    "fastsmtp_smtp_data_receive_duration_seconds": "",
    "fastsmtp_rejects_total": "stage reason code_class",
    "fastsmtp_pop3_connections": "listener",
    "fastsmtp_pop3_connections_total": "listener family result",
    "fastsmtp_pop3_disconnects_total": "listener reason",
    "fastsmtp_pop3_commands_total": "command result",
    "fastsmtp_pop3_command_duration_seconds": "command result",
    "fastsmtp_pop3_messages_total": "event",
    "fastsmtp_pop3_retrieved_bytes_total": "",
    "fastsmtp_queue_messages": "state",
    "fastsmtp_queue_bytes": "state",
    "fastsmtp_queue_messages_by_age": "state age",
    "fastsmtp_queue_oldest_message_timestamp_seconds": "state",
    "fastsmtp_queue_events_total": "event",
    "fastsmtp_queue_lag_seconds": "",
    "fastsmtp_delivery_attempts_total": "transport result",
    "fastsmtp_delivery_duration_seconds": "transport result",
    "fastsmtp_delivery_delay_seconds": "transport result",
    "fastsmtp_store_commit_duration_seconds": "store",
    "fastsmtp_store_commit_batch_messages": "store",
    "fastsmtp_store_sync_duration_seconds": "store",
    "fastsmtp_store_map_size_bytes": "store",
    "fastsmtp_store_used_bytes": "store",
    "fastsmtp_store_free_pages": "store",
    "fastsmtp_store_readers": "store",
    "fastsmtp_store_oldest_reader_txn_age": "store",
    "fastsmtp_store_errors_total": "store kind",
    "fastsmtp_log_unapplied_bytes": "",
    "fastsmtp_log_unapplied_messages": "",
    "fastsmtp_log_segments": "",
    "fastsmtp_log_live_bytes": "",
    "fastsmtp_log_dead_bytes": "",
    "fastsmtp_tls_handshakes_total": "listener version result",
    "fastsmtp_outbound_connections": "",
    "fastsmtp_outbound_connections_total": "family result",
    "fastsmtp_outbound_connection_reuses_total": "",
    "fastsmtp_outbound_replies_total": "stage code_class",
    "fastsmtp_auth_attempts_total": "protocol mechanism result",
    "fastsmtp_worker_restarts_total": "role",
    "fastsmtp_admission_state": "level",
    "fastsmtp_dns_query_duration_seconds": "type result",
    "fastsmtp_dns_cache_requests_total": "result",
    "fastsmtp_disk_free_bytes": "path_role",
    "fastsmtp_disk_free_inodes": "path_role",
    "fastsmtp_event_loop_lag_seconds": "",
    "fastsmtp_check_duration_seconds": "check",
    "fastsmtp_check_results_total": "check result",
    "fastsmtp_call_ahead_cache_requests_total": "result",
    "fastsmtp_hook_timeouts_total": "hook kind",
    "process_cpu_seconds_total": "role",
    "process_resident_memory_bytes": "role",
    "process_open_fds": "role",
    "process_max_fds": "role",
    "python_gc_collections_total": "generation",
}
"""Metrics of the first server, as dashboards and alerts may rely on them."""

HOOKS = [f"hook{n}" for n in range(16)]
COUNTED = counted(HOOKS)
"""What a server counts that has all the hooks it may have."""

NO_UNIT = {"fastsmtp_store_oldest_reader_txn_age"}
ABOUT = {"age", "check", "command", "hook", "state", "store"}
"""Labels for what a metric is about, which its name may say."""


def declared() -> dict[str, tuple[str, list[dict[str, str]]]]:
    """name -> (kind, labels of every series); what is added up counts once"""
    counted: dict[str, tuple[str, list[dict[str, str]]]] = {}
    for f in COUNTED:
        labels = {tuple(s.labels.items()): s.labels for s in f.series}
        counted[f.name] = (f.kind, list(labels.values()))
    live = {m.name: (m.kind, list(m.labels)) for m in LIVE.values()}
    return counted | live


@pytest.fixture
def text(tmp_path: Path) -> str:
    pages = Pages.create(tmp_path / "cells", CELLS, 1)
    pages.name(HOOKS)
    return Scrape(pages, {"data": tmp_path, "run": tmp_path}).text()


@pytest.mark.parametrize("name", PROMISED)
def test_what_was_promised_is_there_from_the_start(name: str, text: str) -> None:
    labels = PROMISED[name].split()
    if name == "fastsmtp_build_info":
        assert f"\n{name}{{" in text
        return
    kind, series = declared()[name]
    assert series
    assert all(list(s) == labels for s in series)
    suffix = "_count" if kind == "histogram" else ""
    samples = re.findall(rf"^{name}{suffix}(\{{.*\}})? \S+$", text, re.M)
    assert len(samples) == len(series)


def test_counters_begin_at_0(text: str) -> None:
    for family in COUNTED:
        for value in re.findall(rf"^{family.name}\S* (\S+)$", text, re.M):
            assert value == "0"


def test_names_are_declared_once() -> None:
    assert len(declared()) == len(COUNTED) + len(LIVE)


@pytest.mark.parametrize("name", declared())
def test_names_keep_the_rules(name: str) -> None:
    kind, series = declared()[name]
    assert re.fullmatch(r"(fastsmtp|process|python)_[a-z][a-z0-9_]*[a-z]", name)
    assert name.endswith("_total") == (kind == "counter")
    assert not re.search(r"_(ms|milliseconds|minutes|kb|octets|percent)(_|$)", name)
    for labels in series:
        inside = {label for label in labels if f"_{label}_" in f"{name}_"}
        assert inside <= ABOUT
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in labels)
    assert len({tuple(s.items()) for s in series}) == len(series)
    if kind == "histogram" and name not in NO_UNIT:
        assert name.endswith(("_seconds", "_bytes", "_messages", "_recipients"))


def spans(families: tuple[Family, ...]) -> list[tuple[int, int]]:
    return sorted(
        (s.place, s.place + (s.histogram.size if s.histogram else 1))
        for f in families
        for s in f.series
    )


def test_no_cell_has_two_names() -> None:
    assert all(end <= start for (_, end), (start, _) in pairwise(spans(COUNTED)))


def test_every_cell_has_a_name() -> None:
    named = {place for first, end in spans(COUNTED) for place in range(first, end)}
    unnamed = set(range(CELLS)) - named
    disks = {metrics.Of.DISK_FREE, metrics.Of.DISK_FREE_INODES}
    disks = {metrics.STORE.first + place for place in disks}
    assert unnamed == disks | metrics.ACTIVE | metrics.EXEMPLARS


def test_histograms_ascend() -> None:
    for family in COUNTED:
        for series in family.series:
            if series.histogram:
                edges = series.histogram.edges
                assert list(edges) == sorted(set(edges))


def test_gauges_are_those_of_gauge_families() -> None:
    named = {s.place for f in COUNTED if f.kind == "gauge" for s in f.series}
    assert named | metrics.ACTIVE | metrics.EXEMPLARS == GAUGES
    assert GAUGES >= LARGEST


@pytest.mark.slow
def test_promtool_finds_nothing_to_say(text: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    command = [promtool, "check", "metrics"]
    done = subprocess.run(command, input=text, text=True, capture_output=True)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)
