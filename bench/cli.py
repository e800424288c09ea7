"""`fastsmtp-bench VERB`: each verb is the `main` of a module of its own."""

import signal
import sys
from importlib import import_module
from typing import Final

from fastsmtp_bench.arguments import nearest
from fastsmtp_bench.client import Unfinished
from fastsmtp_bench.generator import Failed
from fastsmtp_bench.interrupt import INTERRUPTED
from fastsmtp_bench.peers import Unavailable

VERBS: Final = {
    "run": ("run", "load, live progress, a verdict and a report"),
    "compare": ("compare", "what changed between two runs, beyond noise"),
    "peers": ("side_by_peers", "the same load on other servers, in one run"),
    "soak": ("soak", "hours at a fixed rate, with faults; nothing lost, nothing grown"),
    "instructions": (
        "instructions",
        "what a message costs, against a baseline",
    ),
    "sink": ("sink", "a relay target that answers as large providers do"),
    "disk": ("disk", "what a durable write costs on a disk"),
    "clients": ("clients", "what the generator costs beside smtp-source"),
    "side-by-side": ("side_by_side", "workloads W1 to W7 beside smtp-sink"),
    "pop3": ("pop3", "fetching mail, beside Dovecot"),
    "delivered": ("delivered", "beside Postfix, until all is in mailboxes"),
    "destinations": ("destinations", "many next hops, some of them dead"),
    "memory": ("memory", "connections, large mail, an idle server"),
    "relaying": ("relaying", "accepted and passed on, beside Postfix"),
    "backlog": ("backlog", "a million queued: start, memory, verbs, scrapes"),
    "fill-queue": ("fill_queue", "makes a queue of a million messages"),
    "tls": ("tls", "messages, handshakes and idle connections over TLS"),
    "scaling": ("scaling", "process forms, and which thread pays"),
    "hooks": ("hooks", "what a hook adds to each message"),
    "chunks": ("chunks", "BDAT beside DATA"),
    "compaction": ("compaction", "what deleting gives back, under load"),
    "page": ("page", "all figures of docs/performance.md, into it"),
}
"""Verb -> (module, what it does). Modules are imported when their verb is typed."""


def usage() -> str:
    lines = ["usage: fastsmtp-bench VERB [--help | options of the verb]", ""]
    lines += [f"  {verb:14} {what}" for verb, (_, what) in VERBS.items()]
    return "\n".join(lines) + "\n"


def main(words: list[str] | None = None) -> int:
    """Runs a verb; its exit status: 0 done, 1 it measured trouble, 2 bad usage."""
    verb, *rest = (sys.argv[1:] if words is None else words) or ["--help"]
    if verb in ("--help", "-h"):
        sys.stdout.write(usage())
        return 0
    if verb not in VERBS:
        said = nearest(verb, VERBS)
        sys.stderr.write(f"fastsmtp-bench: no verb {verb}; {said}\n")
        return 2
    # told to end, or without its terminal, it takes what it started with it
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, lambda number, _: sys.exit(128 + number))
    module, _ = VERBS[verb]
    try:
        return int(import_module(f"fastsmtp_bench.{module}").main(rest) or 0)
    except KeyboardInterrupt:
        return complain(verb, "interrupted", INTERRUPTED)
    except (Failed, Unavailable, Unfinished, OSError, RuntimeError) as why:
        return complain(verb, why, 2)


def complain(verb: str, what: object, status: int) -> int:
    sys.stderr.write(f"fastsmtp-bench {verb}: {what}\n")
    return status
