"""Every metric, declared once: its name, what it means, and the cells that feed it.

Packages count in cells whose places stand in their `counts.py`. A process's page is
their blocks one after the other (`fastsmtp.blocks`); a family names cells of the page
as series with labels. All combinations of labels are here from the start, so all exist
with 0. What is not counted in cells (memory, disks, the queue's depth) is in
`fastsmtp.live`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from fastsmtp import pulse
from fastsmtp.auth import counts as auth
from fastsmtp.blocks import (
    AUTH,
    CHECKS,
    DELIVERY,
    DNS,
    HOOKS,
    OUTBOUND,
    POP3,
    PULSE,
    QUEUE,
    SMTP,
    STORE,
    TLS,
    Block,
)
from fastsmtp.cells import Labelled, Seen
from fastsmtp.delivery import counts as delivery
from fastsmtp.hooks import counts as hooks
from fastsmtp.net import counts as net
from fastsmtp.pop3 import counts as pop3
from fastsmtp.queue import counts as queue
from fastsmtp.series import (
    Family,
    Series,
    each,
    family,
    histogram,
    histograms,
    one,
)
from fastsmtp.serve import counts as serve
from fastsmtp.smtp import counts as smtp
from fastsmtp.store import counts as store


def by_listener(cells: Labelled, blocks: dict[str, Block] = SMTP) -> Iterator[Series]:
    """Every combination for every listener."""
    for listener, block in blocks.items():
        yield from each(block, cells, listener=listener)


def over_listeners(
    make: Callable[[Block], Iterator[Series]], blocks: dict[str, Block] = SMTP
) -> Iterator[Series]:
    """The same series from every listener's block; a scrape adds them up."""
    for block in blocks.values():
        yield from make(block)


MICROSECONDS: Final = 1e-6
Of = store.Count

PROCESS: Final = (
    Family(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time, ended processes of this run included.",
        tuple(each(PULSE, pulse.CPU, MICROSECONDS)),
    ),
    Family(
        "python_gc_collections_total",
        "counter",
        "Runs of the garbage collector.",
        tuple(each(PULSE, pulse.COLLECTIONS)),
    ),
    family(
        "counter",
        "worker_restarts_total",
        "Processes that died and were replaced.",
        *each(PULSE, pulse.RESTARTS),
    ),
    family(
        "histogram",
        "event_loop_lag_seconds",
        "How late a timer of the event loop ran.",
        histogram(PULSE, pulse.LAG),
    ),
)

RECEIVING: Final = (
    family(
        "gauge",
        "smtp_connections",
        "Connections open now.",
        *(one(block, smtp.OPEN, listener=name) for name, block in SMTP.items()),
    ),
    family(
        "counter",
        "smtp_connections_total",
        "Connections that came in, and what became of them at the door.",
        *by_listener(smtp.CONNECTIONS),
    ),
    family(
        "counter",
        "smtp_disconnects_total",
        "Connections that ended, by reason.",
        *by_listener(smtp.DISCONNECTS),
    ),
    family(
        "counter",
        "smtp_messages_total",
        "Transactions by outcome; accepted means durable and answered with 250.",
        *by_listener(smtp.MESSAGES),
    ),
    family(
        "counter",
        "smtp_commands_total",
        "Commands answered; eod is the end of the data.",
        *over_listeners(lambda block: each(block, smtp.COMMANDS)),
    ),
    family(
        "histogram",
        "smtp_command_duration_seconds",
        "From the arrival of a command to its reply.",
        *over_listeners(lambda block: histograms(block, smtp.DURATIONS, smtp.spoken)),
    ),
    family(
        "histogram",
        "smtp_message_size_bytes",
        "Octets of accepted messages.",
        *over_listeners(lambda block: iter((histogram(block, smtp.SIZE),))),
    ),
    family(
        "histogram",
        "smtp_message_recipients",
        "Recipients of accepted messages.",
        *over_listeners(lambda block: iter((histogram(block, smtp.RECIPIENTS),))),
    ),
    family(
        "histogram",
        "smtp_accept_duration_seconds",
        "From MAIL to the 250 of the message.",
        *over_listeners(lambda block: iter((histogram(block, smtp.ACCEPT_SEEN),))),
    ),
    family(
        "histogram",
        "smtp_data_receive_duration_seconds",
        "From the 354 to the end of the data.",
        *over_listeners(lambda block: iter((histogram(block, smtp.RECEIVE_SEEN),))),
    ),
    family(
        "counter",
        "rejects_total",
        "Refusals by stage of the dialogue, reason and class of the code.",
        *over_listeners(lambda block: each(block, smtp.REJECTS)),
    ),
    family(
        "counter",
        "admission_deferred_total",
        "Transactions answered 4xx at MAIL for no fault of the client. disk, index, "
        "log: full or failed. unapplied: the keeper is behind. share: the machine is "
        "behind, and this client's network has more than most.",
        *over_listeners(lambda block: each(block, smtp.ADMISSION)),
    ),
)

FETCHING: Final = (
    family(
        "gauge",
        "pop3_connections",
        "Connections open now.",
        *(one(block, pop3.OPEN, listener=name) for name, block in POP3.items()),
    ),
    family(
        "counter",
        "pop3_connections_total",
        "Connections that came in, and what became of them at the door.",
        *by_listener(pop3.CONNECTIONS, POP3),
    ),
    family(
        "counter",
        "pop3_disconnects_total",
        "Connections that ended, by reason.",
        *by_listener(pop3.DISCONNECTS, POP3),
    ),
    family(
        "counter",
        "pop3_commands_total",
        "Commands answered, with +OK or -ERR.",
        *over_listeners(lambda block: each(block, pop3.COMMANDS), POP3),
    ),
    family(
        "histogram",
        "pop3_command_duration_seconds",
        "From the arrival of a command to its reply; of RETR and TOP to its end.",
        *over_listeners(
            lambda block: histograms(block, pop3.DURATIONS, pop3.duration), POP3
        ),
    ),
    family(
        "counter",
        "pop3_messages_total",
        "Messages that were retrieved whole, and those removed at QUIT.",
        *over_listeners(lambda block: each(block, pop3.MESSAGES), POP3),
    ),
    family(
        "counter",
        "pop3_retrieved_bytes_total",
        "Octets of messages that were retrieved whole.",
        *over_listeners(lambda block: iter((one(block, pop3.OCTETS),)), POP3),
    ),
)

ENCRYPTING: Final = (
    family(
        "counter",
        "tls_handshakes_total",
        "TLS handshakes by how they ended; version none: they did not come to one. "
        "The listener outbound is our connections to other servers.",
        *(
            series
            for listener, block in TLS.items()
            for series in each(block, net.HANDSHAKES, listener=listener)
        ),
    ),
)

ASKING: Final = (
    family(
        "histogram",
        "dns_query_duration_seconds",
        "From a question to the DNS to its answer; trouble: there was none.",
        *histograms(DNS, net.QUERIES, net.query),
    ),
    family(
        "counter",
        "dns_cache_requests_total",
        "Questions to the DNS by whether the answer was known; stale: too old.",
        *each(DNS, net.CACHE),
    ),
    family(
        "counter",
        "call_ahead_cache_requests_total",
        "Questions to next hops by whether memory had the answer; stale: too old.",
        *each(CHECKS, serve.CALL_AHEAD_CACHE),
    ),
)

LOGGING_IN: Final = (
    family(
        "counter",
        "auth_attempts_total",
        "Logins by how they ended; blocked: not looked at, after too many failures.",
        *each(AUTH, auth.ATTEMPTS),
    ),
)

STORING: Final = (
    family(
        "histogram",
        "store_commit_duration_seconds",
        "index: one transaction. log: from the first message that a flush has to its "
        "being durable, which is the longest that one waits.",
        histogram(STORE, store.INDEX_COMMIT, store="index"),
        histogram(STORE, store.LOG_COMMIT_SEEN, store="log"),
    ),
    family(
        "histogram",
        "store_commit_batch_messages",
        "Messages that shared one commit (index) or one flush (log).",
        histogram(STORE, store.INDEX_BATCH, store="index"),
        histogram(STORE, store.LOG_BATCH, store="log"),
    ),
    family(
        "histogram",
        "store_sync_duration_seconds",
        "index: the end of a transaction, which writes its pages and syncs them. log: "
        "write and fdatasync of one flush.",
        histogram(STORE, store.INDEX_SYNC, store="index"),
        histogram(STORE, store.LOG_SYNC_SEEN, store="log"),
    ),
    family(
        "counter",
        "store_errors_total",
        "Trouble met by the store; a kind that grows needs an operator.",
        one(STORE, Of.INDEX_ERRORS_FULL, store="index", kind="map_full"),
        one(STORE, Of.INDEX_ERRORS_DISK_FULL, store="index", kind="disk_full"),
        one(STORE, Of.INDEX_ERRORS_IO, store="index", kind="io"),
        one(STORE, Of.RECORDS_ASIDE, store="index", kind="set_aside"),
        one(STORE, Of.LOG_ERRORS_DISK_FULL, store="log", kind="disk_full"),
        one(STORE, Of.LOG_ERRORS_IO, store="log", kind="io"),
        one(STORE, Of.LOG_ERRORS_DAMAGED, store="log", kind="damaged"),
    ),
    family(
        "counter",
        "store_records_applied_total",
        "Records of the message log that the index took in.",
        one(STORE, Of.RECORDS_APPLIED),
    ),
    family(
        "gauge",
        "store_map_size_bytes",
        "Address space of the index; its use ends here.",
        one(STORE, Of.MAP_SIZE, store="index"),
    ),
    family(
        "gauge",
        "store_used_bytes",
        "Octets of the index in use.",
        one(STORE, Of.MAP_USED, store="index"),
    ),
    family(
        "gauge",
        "store_free_pages",
        "Pages of the index file that can be used again.",
        one(STORE, Of.FREE_PAGES, store="index"),
    ),
    family(
        "gauge",
        "store_readers",
        "The most readers of the index at one time since the start; there is room for "
        "1024.",
        one(STORE, Of.READERS, store="index"),
    ),
    family(
        "gauge",
        "store_oldest_reader_txn_age",
        "Transactions committed since the oldest reader began.",
        one(STORE, Of.OLDEST_READER, store="index"),
    ),
    family(
        "gauge",
        "log_unapplied_messages",
        "Messages that are durable and not yet in the index.",
        one(STORE, Of.UNAPPLIED_MESSAGES),
    ),
    family(
        "gauge",
        "log_unapplied_bytes",
        "Octets in the log that are not yet in the index.",
        one(STORE, Of.UNAPPLIED_OCTETS),
    ),
    family(
        "gauge",
        "log_segments",
        "Segment files of the message log.",
        one(STORE, Of.SEGMENTS),
    ),
    family(
        "gauge",
        "log_live_bytes",
        "Octets of bodies that something refers to.",
        one(STORE, Of.LIVE_OCTETS),
    ),
    family(
        "gauge",
        "log_dead_bytes",
        "Octets in segments that compaction will give back.",
        one(STORE, Of.DEAD_OCTETS),
    ),
    family(
        "counter",
        "log_compacted_bytes_total",
        "Octets copied by compaction.",
        one(STORE, Of.COMPACTED_OCTETS),
    ),
    family(
        "counter",
        "log_segments_removed_total",
        "Segment files deleted.",
        one(STORE, Of.SEGMENTS_REMOVED),
    ),
)

DELIVERING: Final = (
    family(
        "counter",
        "queue_events_total",
        "What happened in the queue. enqueued, activated, held, released and removed "
        "count messages, the others recipients.",
        *each(QUEUE, queue.EVENT),
    ),
    family(
        "histogram",
        "queue_lag_seconds",
        "From the time an entry was due to the start of its attempt.",
        histogram(QUEUE, queue.LAG_SEEN),
    ),
    family(
        "counter",
        "delivery_attempts_total",
        "Recipients of delivery attempts.",
        *each(DELIVERY, delivery.ATTEMPTS),
    ),
    family(
        "histogram",
        "delivery_duration_seconds",
        "How long an attempt took.",
        *histograms(DELIVERY, delivery.DURATIONS, delivery.duration),
    ),
    family(
        "histogram",
        "delivery_delay_seconds",
        "From the arrival of a message to the final state of a recipient.",
        *histograms(DELIVERY, delivery.DELAYED, delivery.delay),
    ),
)

SENDING: Final = (
    family(
        "gauge",
        "outbound_connections",
        "Connections to other servers that are ready for mail.",
        one(OUTBOUND, smtp.OUT_OPEN),
    ),
    family(
        "counter",
        "outbound_connections_total",
        "Connections to other servers by what became of them; connected: ready for "
        "mail.",
        *each(OUTBOUND, smtp.OUT_CONNECTIONS),
    ),
    family(
        "counter",
        "outbound_connection_reuses_total",
        "Messages that went over a connection that had carried one before.",
        one(OUTBOUND, smtp.OUT_REUSES),
    ),
    family(
        "counter",
        "outbound_replies_total",
        "Replies of other servers by what they answer and the class of the code.",
        *each(OUTBOUND, smtp.OUT_REPLIES),
    ),
)

COUNTED: Final = (
    *(*PROCESS, *RECEIVING, *FETCHING, *ENCRYPTING, *ASKING, *LOGGING_IN),
    *(*STORING, *DELIVERING, *SENDING),
)
"""The families that are fed by cells."""


def checking(names: Iterable[str] = ()) -> tuple[Family, ...]:
    """What decides besides the built-in rules; `names` are those of hooks, by slot, ""
    where there is none (`Pages.names`)."""
    named = [(block, name) for block, name in zip(HOOKS, names, strict=False) if name]
    return (
        family(
            "histogram",
            "check_duration_seconds",
            "From the question to a check to its answer, or to the end of patience.",
            histogram(CHECKS, serve.DNSBL_SECONDS, check="dnsbl"),
            histogram(CHECKS, serve.CALL_AHEAD_SEEN, check="call_ahead"),
            *(
                histogram(block, hooks.DURATION_SEEN, check=f"hook:{name}")
                for block, name in named
            ),
        ),
        family(
            "counter",
            "check_results_total",
            "Answers of checks; error, timeout and busy are failures.",
            *each(CHECKS, serve.DNSBL, check="dnsbl"),
            *each(CHECKS, serve.CALL_AHEAD, check="call_ahead"),
            *(
                series
                for block, name in named
                for series in each(block, hooks.ANSWERS, check=f"hook:{name}")
            ),
        ),
        family(
            "counter",
            "hook_timeouts_total",
            "deadline: no answer in time. blocked: a hook held up the event loop.",
            *(
                series
                for block, name in named
                for series in each(block, hooks.TIMEOUTS, hook=name)
            ),
        ),
    )


def counted(names: Iterable[str] = ()) -> tuple[Family, ...]:
    """COUNTED and what the configuration names; `names` as in `checking`."""
    return (*COUNTED, *checking(names))


ACTIVE: Final = frozenset(range(QUEUE.first + queue.ACTIVE, QUEUE.first + queue.CELLS))
"""What the keeper works on; it goes into the families of the queue, see `LIVE`."""

EXEMPLARS: Final = frozenset(
    place
    for family_ in counted(map(str, range(hooks.SLOTS)))
    for series in family_.series
    if series.histogram and series.seen >= 0
    for place in range(series.seen, Seen(series.seen, series.histogram).end)
)
"""Cells that cannot be added up."""

GAUGES: Final = (
    frozenset(
        series.place
        for family_ in COUNTED
        if family_.kind == "gauge"
        for series in family_.series
    )
    | ACTIVE
    | EXEMPLARS
)
"""Cells that mean nothing once their process is dead."""

LARGEST: Final = frozenset(
    STORE.first + place
    for place in (Of.MAP_SIZE, Of.MAP_USED, Of.FREE_PAGES, Of.READERS, Of.OLDEST_READER)
)
"""Gauges of the one index, which every process that has it open tells."""

ACCEPTED: Final = tuple(
    block.first + smtp.MESSAGES.place("accepted") for block in SMTP.values()
)
CLIENTS: Final = (
    *(block.first + smtp.OPEN for block in SMTP.values()),
    *(block.first + pop3.OPEN for block in POP3.values()),
)
"""Cells that are told of each process, too."""
