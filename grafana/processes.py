"""The row of processes on the overview: what each needs, and its loop."""

from __future__ import annotations

from typing import Final

from grafana.panels import Panel, Query, Row, ask, quantiles

MINE: Final = '$I, worker=~"$worker"'

PROCESSES: Final = Row(
    "Processes",
    (
        Panel(
            "CPU of each process",
            "1 is a whole core; one process uses hardly more. The keeper near 1 is the "
            "limit of the machine, receivers near 1 ask for more of them.",
            "percentunit",
            ask(
                "sum by (instance, role, worker) "
                f"(rate(fastsmtp_process_cpu_seconds_total{{{MINE}}}[$R]))",
                "{{role}} {{worker}}",
            ),
            kind="stacked",
            runbook="cpu-full",
        ),
        Panel(
            "CPU by role",
            "Processes that ended are in it.",
            "percentunit",
            ask(
                "sum by (role) (rate(process_cpu_seconds_total{$I}[$R])) > 0",
                "{{role}}",
            ),
            runbook="cpu-full",
        ),
        Panel(
            "Messages accepted by each receiver",
            "They should be alike.",
            "cps",
            ask(
                "sum by (instance, role, worker) "
                f"(rate(fastsmtp_process_messages_total{{{MINE}}}[$R]))",
                "{{role}} {{worker}}",
            ),
            runbook="cpu-full",
        ),
        Panel(
            "Clients of each process",
            "Connections open now.",
            "short",
            ask(
                "sum by (instance, role, worker) "
                f"(fastsmtp_process_connections{{{MINE}}})",
                "{{role}} {{worker}}",
            ),
        ),
        Panel(
            "Memory of each process",
            "RSS; of the keeper it counts pages of the index, which the kernel takes "
            "back.",
            "bytes",
            ask(
                "sum by (instance, role, worker) "
                f"(fastsmtp_process_resident_memory_bytes{{{MINE}}})",
                "{{role}} {{worker}}",
            ),
            width=8,
        ),
        Panel(
            "Memory that is needed",
            "RSS without mapped files, by role.",
            "bytes",
            ask(
                "sum by (role) (fastsmtp_process_anonymous_memory_bytes{$I}) > 0",
                "{{role}}",
            ),
            width=8,
        ),
        Panel(
            "Memory by role",
            "RSS, mapped files included.",
            "bytes",
            ask("sum by (role) (process_resident_memory_bytes{$I}) > 0", "{{role}}"),
            width=8,
        ),
        Panel(
            "Descriptors in use",
            "Share of what is allowed. Near 1 accepting pauses.",
            "percentunit",
            ask(
                "sum by (role) (process_open_fds{$I})"
                " / (sum by (role) (process_max_fds{$I}) > 0)",
                "{{role}}",
            ),
            limits=(0.8, 0.95),
            width=8,
            most=1,
            runbook="cpu-full",
        ),
        Panel(
            "Event loop: how late",
            "How late a timer ran. Above 50 ms something blocks the loop.",
            "s",
            quantiles("fastsmtp_event_loop_lag_seconds", wanted="0.5 0.99"),
            limits=(0.05, 0.25),
            runbook="loop-blocked",
            width=8,
        ),
        Panel(
            "Garbage collector",
            "Runs a second by generation; a few of generation 2 a minute are normal.",
            "cps",
            ask(
                "sum by (generation) (rate(python_gc_collections_total{$I}[$R]))",
                "generation {{generation}}",
            ),
            width=8,
        ),
        Panel(
            "Processes",
            "Running, by role.",
            "short",
            ask("sum by (role) (fastsmtp_workers{$I}) > 0", "{{role}}"),
            kind="stacked",
            runbook="worker-dies",
            width=6,
        ),
        Panel(
            "Processes by state",
            "All serving, but for a reload or an end.",
            "short",
            ask("sum by (state) (fastsmtp_worker_state{$I})", "{{state}}"),
            kind="stacked",
            runbook="worker-dies",
            width=6,
        ),
        Panel(
            "Processes that died",
            "And were replaced. 0 is the only good value.",
            "short",
            ask(
                "sum by (role) (increase(fastsmtp_worker_restarts_total{$I}[$R]))",
                "{{role}}",
            ),
            limits=(1,),
            runbook="worker-dies",
            width=6,
        ),
        Panel(
            "Since start, since reload",
            "A last reload that was refused shows as 1.",
            "s",
            (
                Query("max(time() - fastsmtp_start_time_seconds{$I})", "runs for"),
                Query(
                    "max(time() - "
                    "fastsmtp_config_last_reload_success_timestamp_seconds{$I})",
                    "configuration read before",
                ),
                Query(
                    "max(1 - fastsmtp_config_last_reload_successful{$I})",
                    "a later reload was refused (1)",
                ),
            ),
            runbook="reload-failed",
            width=6,
        ),
    ),
)
