"""Everything at a glance, from the queue down to processes."""

from __future__ import annotations

from typing import Final

from grafana import processes, queue, store
from grafana.panels import Panel, Query, Row, ask, buckets, quantiles

DOC: Final = (
    "Is it well? The depth of the queue first, then what comes in, what is refused and "
    "why, what goes out, how the disk is, and what the processes do."
)

ACCEPT: Final = "fastsmtp_smtp_accept_duration_seconds"
HERE: Final = '$I, listener=~"$listener"'


def messages(result: str) -> str:
    return f'sum(rate(fastsmtp_smtp_messages_total{{{HERE}, result=~"{result}"}}[$R]))'


def glance(title: str, doc: str, unit: str, expr: str, **rest: object) -> Panel:
    """One number."""
    panel = Panel(title, doc, unit, ask(expr), kind="stat", width=3, tall=4)
    return panel._replace(**rest)


GLANCE: Final = Row(
    "At a glance",
    (
        glance(
            "Accepted",
            "Messages a second that were answered 250, and are on disk.",
            "cps",
            messages("accepted"),
            runbook="no-mail",
        ),
        glance(
            "Refused",
            "Messages a second that were answered 4xx or 5xx at the end, and refused "
            "recipients, connections and commands.",
            "cps",
            "sum(rate(fastsmtp_rejects_total{$I}[$R]))",
            runbook="refused",
        ),
        glance(
            "Oldest message",
            "How long the oldest message of the queue has been here.",
            "s",
            "max(time() - (fastsmtp_queue_oldest_message_timestamp_seconds{$I} > 0))"
            " or vector(0)",
            limits=(14400, 86400),
            runbook="queue-old",
        ),
        glance(
            "Accept time, p99",
            "From MAIL to the 250.",
            "s",
            f"histogram_quantile(0.99, sum by (le) (rate({ACCEPT}_bucket{{$I}}[$R])))",
            limits=(0.25, 1),
            runbook="accept-slow",
        ),
        glance(
            "Deferring",
            "Processes that answer 452 because the store is in trouble; /readyz says "
            "why.",
            "short",
            'sum(fastsmtp_admission_state{$I, level="deferring"})',
            limits=(1,),
            runbook="deferring",
        ),
        glance(
            "Certificate ends in",
            "Of the one that ends first.",
            "d",
            "min(fastsmtp_tls_certificate_not_after_timestamp_seconds{$I} - time())"
            " / 86400",
            limits=(14, 3),
            runbook="certificate-ends",
        ),
        glance(
            "Free disk",
            "Of the data directory.",
            "bytes",
            f"min({store.FREE})",
            limits=(10 * 2**30, 2**30),
            runbook="disk-full",
        ),
        Panel(
            "Runs",
            "Version, commit and Python.",
            "short",
            ask(
                "fastsmtp_build_info{$I}",
                "{{version}} {{commit}} Python {{python}}",
            ),
            kind="name",
            width=3,
            tall=4,
        ),
    ),
)

INBOUND: Final = Row(
    "Inbound",
    (
        Panel(
            "Messages by result",
            "accepted: on disk and answered 250. rejected: 5xx. deferred: 4xx, the "
            "client tries again. aborted: the client went away in the middle.",
            "cps",
            tuple(
                Query(
                    "sum(rate(fastsmtp_smtp_messages_total"
                    f'{{{HERE}, result="{result}"}}[$R]))',
                    result,
                    color,
                )
                for result, color in (
                    ("accepted", "green"),
                    ("rejected", "red"),
                    ("deferred", "orange"),
                    ("aborted", "purple"),
                )
            ),
            kind="stacked",
            runbook="no-mail",
        ),
        Panel(
            "Refusals by reason",
            "At which stage, and why; class 4: come again, class 5: never.",
            "cps",
            ask(
                "sum by (stage, reason, code_class) "
                "(rate(fastsmtp_rejects_total{$I}[$R])) > 0",
                "{{stage}} {{reason}} {{code_class}}xx",
            ),
            kind="stacked",
            runbook="refused",
        ),
        Panel(
            "Held off, by reason",
            "Transactions answered 4xx at MAIL for no fault of the client. disk, "
            "index, log: full or failed. unapplied: the keeper is behind. share: the "
            "machine is behind, and the client's network has more than most.",
            "cps",
            ask(
                "sum by (reason) (rate(fastsmtp_admission_deferred_total{$I}[$R]))",
                "{{reason}}",
            ),
            kind="stacked",
            runbook="deferring",
            width=8,
        ),
        Panel(
            "Accept time",
            "From MAIL to the 250: the client's network, checks, hooks and one flush. "
            "Points are messages; their id goes to `fastsmtp why`.",
            "s",
            quantiles(ACCEPT),
            limits=(1,),
            runbook="accept-slow",
            width=8,
        ),
        Panel(
            "Time to receive the data",
            "From the 354 to the end of the data: the client's network, mostly.",
            "s",
            quantiles("fastsmtp_smtp_data_receive_duration_seconds"),
            runbook="accept-slow",
            width=8,
        ),
        Panel(
            "Connections by what became of them",
            "limit, overload: too many at once. rate, banned: policy. early_talker, "
            "dnsbl: sent away before the greeting.",
            "cps",
            ask(
                "sum by (result) "
                f"(rate(fastsmtp_smtp_connections_total{{{HERE}}}[$R]))",
                "{{result}}",
            ),
            kind="stacked",
            runbook="refused",
            width=8,
        ),
        Panel(
            "Connections open now",
            "By what they came to.",
            "short",
            ask(
                f"sum by (listener) (fastsmtp_smtp_connections{{{HERE}}})",
                "{{listener}}",
            ),
            kind="stacked",
            runbook="accept-slow",
            width=8,
        ),
        Panel(
            "Connections that ended, by reason",
            "reset and timeout in numbers: a network in trouble, or scanners.",
            "cps",
            ask(
                "sum by (reason) "
                f"(rate(fastsmtp_smtp_disconnects_total{{{HERE}}}[$R]))",
                "{{reason}}",
            ),
            width=8,
        ),
        Panel(
            "Message size (heat map)",
            "Octets of accepted messages.",
            "bytes",
            buckets("fastsmtp_smtp_message_size_bytes"),
            kind="heatmap",
            width=8,
        ),
        Panel(
            "Recipients of a message",
            "Of accepted messages.",
            "short",
            quantiles("fastsmtp_smtp_message_recipients"),
            width=8,
        ),
        Panel(
            "TLS handshakes",
            "By version and how they ended; outbound are ours to other servers.",
            "cps",
            ask(
                "sum by (listener, version, result) "
                "(rate(fastsmtp_tls_handshakes_total{$I}[$R])) > 0",
                "{{listener}} {{version}} {{result}}",
            ),
            kind="stacked",
            width=8,
        ),
        Panel(
            "Commands",
            "Answered, by class of the reply; eod is the end of the data.",
            "cps",
            ask(
                "sum by (command, code_class) "
                "(rate(fastsmtp_smtp_commands_total{$I}[$R])) > 0",
                "{{command}} {{code_class}}xx",
            ),
        ),
        Panel(
            "Command latency (p99)",
            "From the arrival of a command to its reply.",
            "s",
            quantiles(
                "fastsmtp_smtp_command_duration_seconds", "command", wanted="0.99"
            ),
            limits=(1,),
            runbook="accept-slow",
        ),
    ),
)

POLICY: Final = Row(
    "Policy",
    (
        Panel(
            "Checks: how long (p95)",
            "Blocklists and hooks, from the question to the answer.",
            "s",
            quantiles("fastsmtp_check_duration_seconds", "check", wanted="0.95"),
            limits=(1, 5),
            runbook="checks-slow",
            width=8,
        ),
        Panel(
            "Checks: verdicts",
            "error, timeout and busy are failures.",
            "cps",
            ask(
                "sum by (check, result) (rate(fastsmtp_check_results_total{$I}[$R]))",
                "{{check}} {{result}}",
            ),
            runbook="checks-slow",
            width=8,
        ),
        Panel(
            "Hooks that were late",
            "deadline: no answer in time. blocked: a hook held up the event loop, "
            "which is a fault of the hook.",
            "cps",
            ask(
                "sum by (hook, kind) (rate(fastsmtp_hook_timeouts_total{$I}[$R]))",
                "{{hook}} {{kind}}",
            ),
            runbook="checks-slow",
            width=8,
        ),
        Panel(
            "DNS: how long (p95)",
            "From a question to its answer.",
            "s",
            quantiles("fastsmtp_dns_query_duration_seconds", "type", wanted="0.95"),
            limits=(1,),
            runbook="dns-slow",
            width=8,
        ),
        Panel(
            "DNS: answers known already",
            "The share that needed no question. Above half is usual.",
            "percentunit",
            ask(
                'sum(rate(fastsmtp_dns_cache_requests_total{$I, result="hit"}[$R]))'
                " / (sum(rate(fastsmtp_dns_cache_requests_total{$I}[$R])) > 0)",
                "known",
            ),
            runbook="dns-slow",
            width=8,
            most=1,
        ),
        Panel(
            "Recipients of next hops",
            "Those a next hop is asked about: hit was known, miss and stale cost a "
            "question.",
            "cps",
            ask(
                "sum by (result) "
                "(rate(fastsmtp_call_ahead_cache_requests_total{$I}[$R]))",
                "{{result}}",
            ),
            kind="stacked",
            runbook="checks-slow",
            width=8,
        ),
    ),
)

DELIVERY: Final = Row(
    "Delivery",
    (
        queue.ATTEMPTS,
        queue.DELAY,
        queue.FAILING._replace(width=8),
        Panel(
            "Connections to other servers",
            "By what became of them; turned_away: the other side said no at the door.",
            "cps",
            ask(
                "sum by (result) "
                "(rate(fastsmtp_outbound_connections_total{$I}[$R])) > 0",
                "{{result}}",
            ),
            kind="stacked",
            runbook="delivery-fails",
            width=8,
        ),
        Panel(
            "Replies of other servers",
            "By what they answer, and the class of the code.",
            "cps",
            ask(
                "sum by (stage, code_class) "
                "(rate(fastsmtp_outbound_replies_total{$I}[$R])) > 0",
                "{{stage}} {{code_class}}xx",
            ),
            runbook="delivery-fails",
            width=8,
        ),
        Panel(
            "Ready connections to other servers",
            "Open and ready for the next message.",
            "short",
            ask("sum(fastsmtp_outbound_connections{$I})", "ready"),
            runbook="delivery-slow",
        ),
        Panel(
            "Messages over a connection that was there",
            "A second. More is better: a new connection costs round trips and TLS.",
            "cps",
            ask(
                "sum(rate(fastsmtp_outbound_connection_reuses_total{$I}[$R]))",
                "reused",
            ),
            runbook="delivery-slow",
        ),
    ),
)

USERS: Final = Row(
    "Users",
    (
        Panel(
            "Logins",
            "By how they ended. blocked: not looked at, after too many failures.",
            "cps",
            ask(
                "sum by (protocol, result) "
                "(rate(fastsmtp_auth_attempts_total{$I}[$R])) > 0",
                "{{protocol}} {{result}}",
            ),
            kind="stacked",
            runbook="login-failures",
        ),
        Panel(
            "Logins that failed, by mechanism",
            "A surge is somebody who guesses passwords.",
            "cps",
            ask(
                "sum by (mechanism, result) "
                '(rate(fastsmtp_auth_attempts_total{$I, result!="ok"}[$R]))',
                "{{mechanism}} {{result}}",
            ),
            runbook="login-failures",
        ),
        Panel(
            "POP3: sessions",
            "Open now.",
            "short",
            ask("sum by (listener) (fastsmtp_pop3_connections{$I})", "{{listener}}"),
            width=6,
        ),
        Panel(
            "POP3: connections",
            "By what became of them at the door.",
            "cps",
            ask(
                "sum by (result) (rate(fastsmtp_pop3_connections_total{$I}[$R]))",
                "{{result}}",
            ),
            width=6,
        ),
        Panel(
            "POP3: connections that ended",
            "By reason.",
            "cps",
            ask(
                "sum by (reason) (rate(fastsmtp_pop3_disconnects_total{$I}[$R]))",
                "{{reason}}",
            ),
            width=6,
        ),
        Panel(
            "POP3: commands",
            "By how they were answered.",
            "cps",
            ask(
                "sum by (result) (rate(fastsmtp_pop3_commands_total{$I}[$R]))",
                "{{result}}",
            ),
            width=6,
        ),
        Panel(
            "POP3: command latency (p99)",
            "From the arrival of a command to its reply; of RETR to its last octet.",
            "s",
            quantiles(
                "fastsmtp_pop3_command_duration_seconds", "command", wanted="0.99"
            ),
            width=8,
        ),
        Panel(
            "POP3: messages",
            "Retrieved whole, and removed at QUIT.",
            "cps",
            ask(
                "sum by (event) (rate(fastsmtp_pop3_messages_total{$I}[$R]))",
                "{{event}}",
            ),
            width=8,
        ),
        Panel(
            "POP3: octets",
            "Of messages that were retrieved whole.",
            "Bps",
            ask("sum(rate(fastsmtp_pop3_retrieved_bytes_total{$I}[$R]))", "octets"),
            width=8,
        ),
    ),
)

ROWS: Final = (
    Row("Queue", (queue.BY_STATE, queue.BY_AGE)),
    GLANCE,
    INBOUND,
    POLICY,
    Row(
        "Queue: in and out",
        (
            queue.RATES,
            queue.DRAIN,
            queue.TOP,
            queue.LAG,
        ),
    ),
    DELIVERY,
    Row(
        "Store",
        (
            store.FLUSH._replace(width=8),
            store.COMMIT._replace(width=8),
            store.BATCH._replace(width=8),
            store.MAP._replace(width=8),
            store.HOURS._replace(width=8),
            store.ERRORS._replace(width=8),
        ),
    ),
    USERS,
    processes.PROCESSES,
)
