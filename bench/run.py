"""fastsmtp-bench run: a load, live progress, a verdict, a report.

Without --target it starts the server of --config (or one of its own) on this machine,
with data of its own that go away again. First it finds out how much goes, then holds
nine tenths of that at a fixed rate: the latency of every message counts from when it
was due. Writes PREFIX.json and PREFIX.html.

Load only servers of your own: loopback, or with --remote a private address.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fastsmtp import config
from fastsmtp_bench import accounts, ledger, place, report, results
from fastsmtp_bench.client import Unfinished
from fastsmtp_bench.generator import Failed
from fastsmtp_bench.place import Place
from fastsmtp_bench.profiles import PROFILES, Profile
from fastsmtp_bench.terminal import Terminal
from fastsmtp_bench.trial import Plan, Trial, drain, perform


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastsmtp-bench run",
        description=__doc__,
        epilog="profiles:\n"
        + "\n".join(f"  {p.name:16} {p.what}" for p in PROFILES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--profile", choices=list(PROFILES), default="mx", metavar="NAME")
    add("--target", metavar="HOST:PORT", help="a server that already runs")
    add("--pid", type=int, help="of the target, to see its threads")
    add("--metrics", metavar="URL", help="of the target")
    add("--record", type=Path, metavar="FILE", help="of a sink that is the target")
    add("--domain", default=accounts.DOMAIN, help="of the target's recipients")
    add("--remote", action="store_true", help="the target has a private address")
    add("-c", "--config", type=Path, metavar="FILE", help="start this configuration")
    add("--directory", type=Path, help="where the data are kept meanwhile")
    add("--mode", choices=["one", "split"], default="split", help="without --config")
    add("--rate", type=float, default=0.0, help="hold this many messages/s")
    add("--seconds", type=float, default=10.0, help="of each load")
    add("--sessions", type=int, help="instead of the profile's")
    add("--folder", type=Path, help="of real messages, instead of the profile's sizes")
    add("--processes", type=int, default=1, help="of the generator")
    add("--verify", action="store_true", help="look for every acknowledged message")
    add("--tolerant", action="store_true", help="go on when the server refuses")
    add("--output", type=Path, default=Path("bench-report"), metavar="PREFIX")
    return parser


def profile_of(options: argparse.Namespace) -> Profile:
    found = PROFILES[options.profile]
    if options.sessions:
        found = replace(found, sessions=options.sessions)
    if options.folder:
        found = replace(found, folder=str(options.folder))
    return found


@contextmanager
def placed(options: argparse.Namespace, profile: Profile) -> Iterator[Place]:
    if options.target:
        host, _, port = options.target.rpartition(":")
        yield Place(
            label=options.target,
            host=host.strip("[]") or "127.0.0.1",
            port=int(port),
            remote=options.remote,
            domain=options.domain,
            pid=options.pid,
            metrics=options.metrics,
        )
    elif options.config:
        with place.borrowed(options.config, profile, options.directory) as made:
            yield made
    else:
        directory = options.directory or Path()
        with place.private(profile, directory.resolve(), options.mode) as made:
            yield made


def measure(options: argparse.Namespace) -> tuple[Trial, ledger.Balance | None]:
    """Raises Failed, Unfinished, OSError, `config.ConfigErrors`."""
    profile = profile_of(options)
    with (
        tempfile.TemporaryDirectory(prefix="fastsmtp-bench-") as folder,
        placed(options, profile) as where,
    ):
        plan = Plan(
            seconds=options.seconds,
            processes=options.processes,
            rate=options.rate,
            verify=Path(folder) if options.verify else None,
            tolerant=options.tolerant,
        )
        trial = perform(where, profile, plan, Terminal())
        return trial, verified(trial, options.record)


def verified(trial: Trial, record: Path | None) -> ledger.Balance | None:
    """What was acknowledged against what is there. Raises Failed."""
    folder, where, profile = trial.plan.verify, trial.place, trial.profile
    if folder is None:
        return None
    acked = ledger.acknowledged(folder)
    if record:
        return ledger.settle(acked, ledger.in_record(record), 1)
    if not where.configuration:
        raise Failed("--verify wants --record FILE of a sink, or a server started here")
    drain(where)
    addresses = [f"{name}@{where.domain}" for name in place.names(profile)]
    found = ledger.in_mailboxes(where.configuration, addresses)
    return ledger.settle(acked, found, profile.recipients)


def main(words: list[str] | None = None) -> int:
    options = arguments().parse_args(words)
    try:
        trial, balance = measure(options)
    except (Failed, Unfinished, OSError, RuntimeError, config.ConfigErrors) as why:
        sys.stderr.write(f"\nfastsmtp-bench run: {why}\n")
        return 2
    found = results.document(trial, options.directory or Path(), balance)
    written = [options.output.with_suffix(s) for s in (".json", ".html")]
    written[0].write_text(json.dumps(found, indent=1) + "\n")
    written[1].write_text(report.html(found))
    print(found["verdict"]["sentence"])
    if found["verdict"]["limited_by_the_generator"]:
        print(f"limited by the generator: its ceiling is {trial.ceiling:,.0f}/s here")
    if balance:
        print(balance.sentence())
    print(f"report: {written[1]} ({written[0]} for fastsmtp-bench compare)")
    return 0 if trial.sustained and (balance is None or balance.good) else 1
