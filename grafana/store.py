"""The store: is the disk quick enough, and when is it full?"""

from __future__ import annotations

from typing import Final

from grafana.panels import Panel, Query, Row, ask, buckets, quantiles

DOC: Final = (
    "The message log (what makes a 250 true) and the index (queue and mailboxes): how "
    "long flushes and commits take, how many share one, how full they are."
)

FREE: Final = 'fastsmtp_disk_free_bytes{$I, path_role="data"}'

LOG: Final = '$I, store="log"'
INDEX: Final = '$I, store="index"'

FLUSH: Final = Panel(
    "Flush of the message log",
    "Write and fdatasync: every 250 waits for one. 0.2 to 5 ms on a good SSD, 10 ms "
    "and more on network disks.",
    "s",
    quantiles("fastsmtp_store_sync_duration_seconds", where=LOG),
    limits=(0.05, 0.25),
    runbook="store-slow",
)
WAIT: Final = Panel(
    "Until a message is on disk",
    "The longest that a message of each flush waited for its 250: for the flush "
    "before, and for its own. Far above the flush: flushes queue up.",
    "s",
    quantiles("fastsmtp_store_commit_duration_seconds", where=LOG),
    limits=(0.1, 0.5),
    runbook="store-slow",
)
COMMIT: Final = Panel(
    "Commit of the index",
    "Nobody waits for it to get a 250, but mail becomes visible, and the queue moves, "
    "by commits.",
    "s",
    quantiles("fastsmtp_store_commit_duration_seconds", where=INDEX),
    limits=(0.05, 0.25),
    runbook="store-slow",
)
SYNC: Final = Panel(
    "Sync of the index",
    "The end of a commit, in which its pages are written and synced. The rest of the "
    "commit is work on them.",
    "s",
    quantiles("fastsmtp_store_sync_duration_seconds", where=INDEX),
    limits=(0.05, 0.25),
    runbook="store-slow",
)
BATCH: Final = Panel(
    "Messages that share one flush or commit",
    "The mean. 1: little traffic. It grows with traffic, and faster on a slow disk: "
    "that is how throughput stays while latency rises.",
    "short",
    ask(
        "sum by (store) (rate(fastsmtp_store_commit_batch_messages_sum{$I}[$R]))"
        " / (sum by (store) (rate(fastsmtp_store_commit_batch_messages_count{$I}[$R]))"
        " > 0)",
        "{{store}}",
    ),
    runbook="store-slow",
)
MAP: Final = Panel(
    "Index: used of its map",
    "The share of store.map_size that is in use; at 98 % new mail is answered 452.",
    "percentunit",
    ask(
        "fastsmtp_store_used_bytes{$I} / fastsmtp_store_map_size_bytes{$I}",
        "{{store}} {{instance}}",
    ),
    limits=(0.8, 0.95),
    runbook="map-full",
    most=1,
)
DISK: Final = Panel(
    "Free disk",
    "For the server's user. Below store.min_free new mail is answered 452.",
    "bytes",
    ask("min by (path_role) (fastsmtp_disk_free_bytes{$I})", "{{path_role}}"),
    runbook="disk-full",
)
HOURS: Final = Panel(
    "Hours until the disk is full",
    "At the trend of the last hour. No line: it does not fill.",
    "h",
    ask(f"min({FREE} / (-deriv({FREE}[1h]) > 0)) / 3600", "full in"),
    limits=(24, 4),
    runbook="disk-full",
)
ERRORS: Final = Panel(
    "Trouble of the store",
    "0 is the only good value. Each kind needs somebody, now.",
    "short",
    ask(
        "sum by (store, kind) (increase(fastsmtp_store_errors_total{$I}[$R]))",
        "{{store}} {{kind}}",
    ),
    limits=(1,),
    runbook="store-errors",
)

ROWS: Final = (
    Row("Latency", (FLUSH, WAIT, COMMIT, SYNC)),
    Row(
        "Batches",
        (
            BATCH,
            Panel(
                "Messages in one flush (heat map)",
                "How many connections share an fdatasync.",
                "short",
                buckets("fastsmtp_store_commit_batch_messages"),
                kind="heatmap",
                runbook="store-slow",
            ),
            Panel(
                "Taken in, and made visible",
                "Messages on disk, and records that the index took in. They run "
                "together; a gap is what the keeper has yet to do.",
                "cps",
                (
                    Query(
                        "sum(rate(fastsmtp_smtp_messages_total"
                        '{$I, result="accepted"}[$R]))',
                        "accepted",
                    ),
                    Query(
                        "sum(rate(fastsmtp_store_records_applied_total{$I}[$R]))",
                        "applied",
                    ),
                ),
                runbook="keeper-behind",
            ),
            Panel(
                "Not yet applied",
                "Messages on disk that the index has not yet. Near 0; receivers slow "
                "down at store.unapplied_bytes.",
                "short",
                ask("sum(fastsmtp_log_unapplied_messages{$I})", "messages"),
                runbook="keeper-behind",
            ),
            Panel(
                "Not yet applied, in octets",
                "As far as receivers may be ahead of the keeper, 256 MiB by default.",
                "bytes",
                ask("sum(fastsmtp_log_unapplied_bytes{$I})", "octets"),
                limits=(128 * 2**20, 256 * 2**20),
                runbook="keeper-behind",
            ),
            ERRORS,
        ),
    ),
    Row(
        "Message log",
        (
            Panel(
                "Log: live and dead",
                "Live: bodies that something refers to. Dead: what compaction gives "
                "back.",
                "bytes",
                (
                    Query("sum(fastsmtp_log_live_bytes{$I})", "live", "green"),
                    Query("sum(fastsmtp_log_dead_bytes{$I})", "dead", "orange"),
                ),
                kind="stacked",
                runbook="disk-full",
                width=6,
            ),
            Panel(
                "Log: segment files",
                "Files of the message log on disk.",
                "short",
                ask("sum(fastsmtp_log_segments{$I})", "segments"),
                runbook="disk-full",
                width=6,
            ),
            Panel(
                "Log: compaction",
                "Octets a second that compaction copies, to free segments that are "
                "half dead.",
                "Bps",
                ask(
                    "sum(rate(fastsmtp_log_compacted_bytes_total{$I}[$R]))",
                    "copied",
                ),
                runbook="disk-full",
                width=6,
            ),
            Panel(
                "Log: segments deleted",
                "Files of the log that were given back, in the time of a rate.",
                "short",
                ask(
                    "sum(increase(fastsmtp_log_segments_removed_total{$I}[$R]))",
                    "deleted",
                ),
                runbook="disk-full",
                width=6,
            ),
        ),
    ),
    Row(
        "Index",
        (
            MAP,
            Panel(
                "Index: size",
                "Octets in use, and those of them that are free pages inside the file.",
                "bytes",
                (
                    Query("sum(fastsmtp_store_used_bytes{$I})", "used"),
                    Query(
                        "sum(fastsmtp_store_free_pages{$I}) * 4096",
                        "free pages in the file",
                    ),
                ),
                runbook="map-full",
            ),
            Panel(
                "Index: readers",
                "The most at one time since the start of the server, of 1024.",
                "short",
                ask("max(fastsmtp_store_readers{$I})", "readers"),
                limits=(512, 1000),
                runbook="reader-hangs",
            ),
            Panel(
                "Index: how far the oldest reader is behind",
                "Transactions since it began. While one stays open no page is used "
                "again and the file grows; thousands for minutes are a fault.",
                "short",
                ask("max(fastsmtp_store_oldest_reader_txn_age{$I})", "transactions"),
                limits=(1000, 100000),
                runbook="reader-hangs",
            ),
        ),
    ),
    Row(
        "Disk",
        (
            DISK,
            HOURS,
            Panel(
                "Free inodes",
                "Each segment of the log is a file.",
                "short",
                ask(
                    "min by (path_role) (fastsmtp_disk_free_inodes{$I})",
                    "{{path_role}}",
                ),
                runbook="disk-full",
            ),
        ),
    ),
)
