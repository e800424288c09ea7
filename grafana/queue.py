"""The queue: how deep, how old, where to, and when it will be empty."""

from __future__ import annotations

from typing import Final

from grafana.panels import Panel, Query, Row, ask, buckets, quantiles

DOC: Final = (
    "What waits, for how long and for whom; what comes in and goes out; when it will "
    "be empty. `fastsmtp queue top` and `queue list` show the same in a terminal."
)

STATES: Final = {
    "incoming": "blue",
    "active": "green",
    "scheduled": "purple",
    "deferred": "orange",
    "hold": "red",
}
AGES: Final = {
    "1m": "#37872D",
    "5m": "#73BF69",
    "15m": "#C8F2C2",
    "30m": "#FFEE52",
    "1h": "#FADE2A",
    "4h": "#FF9830",
    "1d": "#FA6400",
    "5d": "#F2495C",
    "+Inf": "#8F1B2E",
}
"""From young to old: green, yellow, red."""

OUT: Final = (
    'sum by (instance) (rate(fastsmtp_queue_events_total{$I, event="removed"}[$R]))'
)
IN: Final = (
    'sum by (instance) (rate(fastsmtp_queue_events_total{$I, event="enqueued"}[$R]))'
)
DEPTH: Final = "sum by (instance) (fastsmtp_queue_messages{$I})"


def aged(where: str = "") -> tuple[Query, ...]:
    """One series for each age, youngest first, so that they stack in that order."""
    return tuple(
        Query(
            f'sum(fastsmtp_queue_messages_by_age{{$I, age="{age}"{where}}})',
            "older" if age == "+Inf" else f"≤ {age}",
            color,
        )
        for age, color in AGES.items()
    )


BY_STATE: Final = Panel(
    "Queue depth by state",
    "Messages in the queue. incoming: on disk, not yet in the index, near 0 when all "
    "is well. active: being tried now. deferred: an attempt failed, the next is "
    "planned. scheduled: waits for its first. hold: waits for you.",
    "short",
    tuple(
        Query(f'sum(fastsmtp_queue_messages{{$I, state="{state}"}})', state, color)
        for state, color in STATES.items()
    ),
    kind="stacked",
    runbook="queue-grows",
    tall=9,
)
BY_AGE: Final = Panel(
    "Queue depth by age",
    "The same messages by how long ago they arrived, as qshape shows them, over time. "
    "Green is today's traffic; a red band that stays is mail that nobody takes.",
    "short",
    aged(),
    kind="stacked",
    runbook="queue-old",
    tall=9,
)
RATES: Final = Panel(
    "Into the queue and out of it",
    "Messages a second that had to be queued, and that left it: delivered, given up, "
    "or removed. When out stays below in, the queue grows.",
    "cps",
    (Query(IN, "in", "blue"), Query(OUT, "out", "green")),
    runbook="queue-grows",
)
DRAIN: Final = Panel(
    "Time until it is empty",
    "Depth divided by what leaves net of what comes. No line: it does not shrink.",
    "s",
    ask(f"({DEPTH}) / (({OUT}) - ({IN}) > 0)", "empty in"),
    limits=(3600, 14400),
    runbook="queue-grows",
)
TOP: Final = Panel(
    "Top destinations",
    "Messages that wait for the 20 fullest destinations; other is all the rest.",
    "short",
    ask(
        "sum by (destination) (fastsmtp_queue_destination_messages{$I})",
        "{{destination}}",
    ),
    kind="stacked",
    runbook="queue-grows",
)
OLDEST: Final = Panel(
    "Oldest message by state",
    "How long ago the oldest message in each state arrived. active for more than a few "
    "minutes is an attempt that hangs.",
    "s",
    ask(
        "max by (state) (time() - "
        "(fastsmtp_queue_oldest_message_timestamp_seconds{$I} > 0))",
        "{{state}}",
    ),
    limits=(14400, 86400),
    runbook="queue-old",
)
LAG: Final = Panel(
    "Late starts of attempts",
    "From the time an entry was due to the start of its attempt. Seconds are normal "
    "while a destination is at its limit of connections; minutes say that senders are "
    "too few.",
    "s",
    quantiles("fastsmtp_queue_lag_seconds"),
    runbook="delivery-slow",
)
DELAY: Final = Panel(
    "Delay until delivered (heat map)",
    "From the arrival of a message to the final state of a recipient: dark cells are "
    "many. Two bands are normal: at once, and after a retry.",
    "s",
    buckets("fastsmtp_delivery_delay_seconds"),
    kind="heatmap",
    runbook="delivery-slow",
)
ATTEMPTS: Final = Panel(
    "Attempts by result",
    "Recipients of delivery attempts. conn_fail and tls_fail: the other server was not "
    "reached; temp_fail: it said 4xx; perm_fail: it said 5xx.",
    "cps",
    ask(
        "sum by (transport, result) "
        "(rate(fastsmtp_delivery_attempts_total{$I}[$R])) > 0",
        "{{transport}} {{result}}",
    ),
    kind="stacked",
    runbook="delivery-fails",
)
FAILING: Final = Panel(
    "Share of attempts that failed for now",
    "temp_fail, conn_fail and tls_fail of all attempts that are not local. Below 5 % "
    "is usual; near 100 % the network or the resolver is down, or we are blocked.",
    "percentunit",
    ask(
        "sum(rate(fastsmtp_delivery_attempts_total"
        '{$I, transport!="local", result=~"temp_fail|conn_fail|tls_fail"}[$R]))'
        " / (sum(rate(fastsmtp_delivery_attempts_total"
        '{$I, transport!="local"}[$R])) > 0)',
        "failed for now",
    ),
    limits=(0.2, 0.5),
    runbook="delivery-fails",
    most=1,
)

ROWS: Final = (
    Row("Depth", (BY_STATE, BY_AGE)),
    Row(
        "Now",
        (
            Panel(
                "Waiting now, by age",
                "The shape of the queue at this moment.",
                "short",
                tuple(q._replace(color="") for q in aged()),
                kind="bars",
                runbook="queue-old",
                width=8,
                tall=9,
            ),
            Panel(
                "Fullest destinations now",
                "As `fastsmtp queue top` shows them, in the same order.",
                "short",
                ask(
                    "sort_desc(sum by (destination) "
                    "(fastsmtp_queue_destination_messages{$I}))",
                    "{{destination}}",
                ),
                kind="bars",
                runbook="queue-grows",
                width=8,
                tall=9,
            ),
            Panel(
                "Octets in the queue",
                "What the bodies of waiting messages take on disk, by state.",
                "bytes",
                ask("sum by (state) (fastsmtp_queue_bytes{$I})", "{{state}}"),
                kind="stacked",
                runbook="disk-full",
                width=8,
                tall=9,
            ),
        ),
    ),
    Row("In and out", (RATES, DRAIN)),
    Row("Where to, and how old", (TOP, OLDEST)),
    Row(
        "Attempts",
        (
            ATTEMPTS,
            FAILING,
            Panel(
                "How long an attempt takes (p95)",
                "From the start of an attempt to its end, by transport.",
                "s",
                quantiles(
                    "fastsmtp_delivery_duration_seconds", "transport", wanted="0.95"
                ),
                limits=(30, 120),
                runbook="delivery-slow",
            ),
            Panel(
                "What happens in the queue",
                "enqueued, activated, held, released and removed count messages, the "
                "others recipients.",
                "cps",
                ask(
                    "sum by (event) (rate(fastsmtp_queue_events_total{$I}[$R]))",
                    "{{event}}",
                ),
                runbook="queue-grows",
            ),
        ),
    ),
    Row(
        "Delays",
        (
            DELAY,
            Panel(
                "Delay until delivered",
                "From arrival to delivery. p99 follows what was retried.",
                "s",
                quantiles("fastsmtp_delivery_delay_seconds"),
                runbook="delivery-slow",
            ),
            LAG,
            Panel(
                "Deferred, by age",
                "Only what was tried and failed.",
                "short",
                aged(', state="deferred"'),
                kind="stacked",
                runbook="queue-old",
            ),
        ),
    ),
)
