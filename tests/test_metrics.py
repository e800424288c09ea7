"""The declarations: names by the rules of Prometheus, all there from the start."""

import re
import shutil
import subprocess
from itertools import pairwise, product
from pathlib import Path

import pytest

from fastsmtp import metrics
from fastsmtp.blocks import CELLS
from fastsmtp.live import LIVE
from fastsmtp.metrics import GAUGES, LARGEST, counted
from fastsmtp.pages import Pages
from fastsmtp.scrape import Scrape
from fastsmtp.series import Family
from fastsmtp.smtp.counts import ABOUT_MAIL

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
    "fastsmtp_admission_deferred_total": "reason",
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

VALUES = {
    "fastsmtp_worker_state": "serving,draining,starting",
    "fastsmtp_smtp_connections": "smtp,submission,submissions,lmtp,sendmail",
    "fastsmtp_smtp_connections_total": "smtp,submission,submissions,lmtp,sendmail"
    " ipv4,ipv6,other"
    " accepted,limit,rate,banned,early_talker,dnsbl,overload",
    "fastsmtp_smtp_disconnects_total": "smtp,submission,submissions,lmtp,sendmail"
    " quit,timeout,reset,too_many_errors,shutdown",
    "fastsmtp_smtp_commands_total": "HELO,EHLO,LHLO,MAIL,RCPT,DATA,BDAT,RSET,NOOP,"
    "VRFY,EXPN,HELP,STARTTLS,AUTH,XCLIENT,QUIT,other,eod 2,3,4,5",
    "fastsmtp_smtp_messages_total": "smtp,submission,submissions,lmtp,sendmail"
    " accepted,rejected,deferred,aborted",
    "fastsmtp_rejects_total": "connect,helo,mail,rcpt,data,eod"
    " unknown_recipient,relay,size,quota,syntax,sequence,limit,content,loop,rate,"
    "banned,early_talker,dnsbl,overload,store_error,policy_hook,auth 4,5",
    "fastsmtp_admission_state": "open,deferring,draining",
    "fastsmtp_admission_deferred_total": "disk,index,log,unapplied,share",
    "fastsmtp_tls_handshakes_total": "smtp,submission,submissions,lmtp,sendmail,"
    "outbound,pop3,pop3s TLSv1.2,TLSv1.3,none full,resumed,failed,timeout,lost",
    "fastsmtp_dns_query_duration_seconds": "A,AAAA,MX,PTR,TXT"
    " found,no_name,no_data,trouble",
    "fastsmtp_dns_cache_requests_total": "hit,miss,stale",
    "fastsmtp_queue_messages": "incoming,active,deferred,hold,scheduled",
    "fastsmtp_queue_bytes": "incoming,active,deferred,hold,scheduled",
    "fastsmtp_queue_messages_by_age": "active,deferred,hold,scheduled"
    " 1m,5m,15m,30m,1h,4h,1d,5d,+Inf",
    "fastsmtp_queue_oldest_message_timestamp_seconds": "active,deferred,hold,scheduled",
    "fastsmtp_queue_events_total": "enqueued,activated,deferred,delivered,bounced,"
    "expired,held,released,removed",
    "fastsmtp_delivery_attempts_total": "local,lmtp,smtp,relay"
    " delivered,temp_fail,perm_fail,conn_fail,tls_fail",
    "fastsmtp_delivery_duration_seconds": "local,lmtp,smtp,relay"
    " delivered,temp_fail,perm_fail,conn_fail,tls_fail",
    "fastsmtp_delivery_delay_seconds": "local,lmtp,smtp,relay"
    " delivered,temp_fail,perm_fail,conn_fail,tls_fail",
    "fastsmtp_store_commit_duration_seconds": "index,log",
    "fastsmtp_store_commit_batch_messages": "index,log",
    "fastsmtp_store_sync_duration_seconds": "index,log",
    "fastsmtp_worker_restarts_total": "all,supervise,receive,keep,send,read",
    "fastsmtp_disk_free_bytes": "data,run",
    "fastsmtp_disk_free_inodes": "data,run",
}
"""Values of their labels, every combination of which exists, and nothing else."""

NOBODYS = {
    "fastsmtp_smtp_message_size_bytes": "no latency",
    "fastsmtp_smtp_message_recipients": "no latency",
    "fastsmtp_store_commit_batch_messages": "no latency",
    "fastsmtp_event_loop_lag_seconds": "of nobody",
    "fastsmtp_dns_query_duration_seconds": "answers are kept for whoever asks next",
    "fastsmtp_pop3_command_duration_seconds": "of a mailbox, not of a message",
}
"""Histograms whose points are no messages, and why."""
NOBODYS_SERIES = {
    "fastsmtp_store_commit_duration_seconds": {"store": "index"},
    "fastsmtp_store_sync_duration_seconds": {"store": "index"},
    "fastsmtp_check_duration_seconds": {"check": "dnsbl"},
}
"""The same of some of their series: nobody waits for the index, and a connection has no
message yet."""

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


@pytest.mark.parametrize("name", VALUES)
def test_every_combination_is_there(name: str) -> None:
    series = declared()[name][1]
    labels = PROMISED[name].split()
    allowed = [values.split(",") for values in VALUES[name].split()]
    wanted = [dict(zip(labels, values, strict=True)) for values in product(*allowed)]
    assert sorted(map(str, series)) == sorted(map(str, wanted))


def test_points_of_a_latency_are_messages() -> None:
    for family in COUNTED:
        if family.kind != "histogram":
            assert family.name not in NOBODYS
            continue
        for series in family.series:
            nobodys = (
                family.name in NOBODYS
                or series.labels == NOBODYS_SERIES.get(family.name)
                or series.labels.get("command", "eod") not in ABOUT_MAIL
            )
            assert (series.seen < 0) == nobodys, (family.name, series.labels)


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
