"""fastsmtp-bench run: a load, live progress, a verdict, a report.

Without --target it starts the server of --config (or one of its own) on this machine,
with data of its own that go away again. First it finds out how much goes, then holds
nine tenths of that at a fixed rate: the latency of every message counts from when it
was due. Writes PREFIX.json and PREFIX.html. Ctrl-C ends it with a report of what there
is.

Load only servers of your own: loopback, or with --remote a private address.
Exit status: 0 the rate was held, 1 it was not or a message is lost, 2 it could not be
done, 130 it was interrupted.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastsmtp import config
from fastsmtp.cli import Failure
from fastsmtp_bench import (
    accounts,
    arguments,
    ledger,
    place,
    profile_file,
    report,
    results,
)
from fastsmtp_bench.client import Unfinished
from fastsmtp_bench.generator import Failed
from fastsmtp_bench.interrupt import INTERRUPTED, Interrupt
from fastsmtp_bench.place import Place
from fastsmtp_bench.profiles import PROFILES, Profile
from fastsmtp_bench.terminal import Terminal
from fastsmtp_bench.trial import Plan, Trial, drain, perform


def options_of(words: list[str] | None) -> argparse.Namespace:
    shown = "\n".join(f"  {p.name:16} {p.what}" for p in PROFILES.values())
    parser = arguments.parser("run", __doc__, f"profiles:\n{shown}")
    add, count, positive = parser.add_argument, arguments.count, arguments.positive
    add("--profile", default="mx", metavar="NAME", help="or FILE.toml: docs/bench.md")
    add("--target", type=arguments.endpoint, metavar="HOST:PORT", help="one that runs")
    add("--pid", type=count, help="of the target, to see its threads")
    add("--metrics", metavar="URL", help="of the target")
    add("--record", type=Path, metavar="PATH", help="of a sink, or folder of Maildirs")
    add("--domain", default=accounts.DOMAIN, help="of the target's recipients")
    add("--logins", type=arguments.file, help="of the target: lines ADDRESS PASSWORD")
    add("--remote", action="store_true", help="the target has a private address")
    add("-c", "--config", type=arguments.file, metavar="FILE")
    add("--directory", type=arguments.folder, help="where the data are kept meanwhile")
    add("--mode", choices=["one", "split"], default="split", help="without --config")
    add("--rate", type=positive, default=0.0, help="hold this many messages/s")
    add("--seconds", type=positive, default=10.0, help="of each load")
    add("--sessions", type=count, help="instead of the profile's")
    add("--folder", type=arguments.folder, help="of real messages, one a file")
    add("--processes", type=count, default=1, help="of the generator")
    add("--verify", action="store_true", help="look for every acknowledged message")
    add("--tolerant", action="store_true", help="go on when the server refuses")
    prefix = Path("bench-report")
    add("--output", type=arguments.beside, default=prefix, metavar="PREFIX")
    options = parser.parse_args(words)
    if options.pid and not Path(f"/proc/{options.pid}").exists():
        parser.error(f"there is no process {options.pid}")
    if not os.access(options.output.parent, os.W_OK):
        parser.error(f"{options.output.parent} cannot be written to")
    if (options.pid or options.metrics or options.logins) and not options.target:
        parser.error("--pid, --metrics and --logins are of a --target")
    return options


def profile_of(options: argparse.Namespace) -> Profile:
    """Raises Failed, profile_file.Mistake."""
    name = options.profile
    if name in PROFILES:
        found = PROFILES[name]
    elif name.endswith(".toml") or Path(name).exists():
        found = profile_file.load(Path(name))
    else:
        said = arguments.nearest(name, PROFILES)
        raise Failed(f"no profile {name}, nor a FILE.toml of that name; {said}")
    if options.sessions:
        found = replace(found, sessions=options.sessions)
    if options.folder:
        found = replace(found, folder=str(options.folder))
    return found


@contextmanager
def placed(options: argparse.Namespace, profile: Profile) -> Iterator[Place]:
    """Raises Failed, OSError, `config.ConfigErrors`."""
    if options.target:
        host, port = options.target
        yield place.running(
            profile,
            Place(
                label=f"{host}:{port}",
                host=host,
                port=port,
                remote=options.remote,
                domain=options.domain,
                pid=options.pid,
                metrics=options.metrics,
                configuration=options.config,
            ),
            options.logins,
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
        Interrupt() as interrupt,
        placed(options, profile) as where,
    ):
        if options.verify and not (options.record or where.configuration):
            raise Failed(
                "--verify of a target wants --record PATH, a sink's or a folder of "
                "Maildirs, or -c FILE, the configuration of a fastsmtp"
            )
        plan = Plan(
            seconds=options.seconds,
            processes=options.processes,
            rate=options.rate,
            verify=Path(folder) if options.verify else None,
            tolerant=options.tolerant,
        )
        trial = perform(where, profile, plan, Terminal(), interrupt)
        return trial, verified(trial, options.record)


def verified(trial: Trial, record: Path | None) -> ledger.Balance | None:
    """What was acknowledged against what is there. Raises Failed, OSError."""
    folder, where, profile = trial.plan.verify, trial.place, trial.profile
    if folder is None:
        return None
    acked = ledger.acknowledged(folder)
    drain(where)
    copies = profile.recipients
    if record and record.is_dir():
        found = ledger.in_folder(record)
    elif record:
        found, copies = ledger.in_record(record), 1
    else:
        assert where.configuration
        addresses = [f"{name}@{where.domain}" for name in place.names(profile)]
        found = ledger.in_mailboxes(where.configuration, addresses)
    return ledger.settle(acked, ledger.marked(found, where.mark), copies)


def write(path: Path, text: str) -> None:
    """Whole or not at all. Raises OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text)
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def tell(found: dict[str, Any], output: Path) -> bool:
    """Prints the verdict and writes the report; whether that could be done."""
    verdict = found["verdict"]
    print(verdict["sentence"])
    if verdict["limited_by_the_generator"]:
        print(
            f"limited by the generator: its ceiling is {found['ceiling']:,.0f}/s here"
        )
    if found["verified"]:
        print(found["verified"]["sentence"])
    written = [output.with_name(output.name + s) for s in (".json", ".html")]
    try:
        write(written[0], json.dumps(found, indent=1) + "\n")
        write(written[1], report.html(found))
    except OSError as why:
        complain(f"the report is not written: {why}")
        return False
    print(f"report: {written[1]} ({written[0]} for fastsmtp-bench compare)")
    return True


def complain(what: object) -> None:
    sys.stderr.write(f"fastsmtp-bench run: {what}\n")


def main(words: list[str] | None = None) -> int:
    options = options_of(words)
    try:
        trial, balance = measure(options)
    except KeyboardInterrupt:
        complain("interrupted; there is no report")
        return INTERRUPTED
    except (
        *(Failed, Failure, Unfinished, profile_file.Mistake, config.ConfigErrors),
        *(OSError, RuntimeError),
    ) as why:
        complain(why)
        return 2
    if not trial.phases:
        complain("interrupted before anything was measured")
        return INTERRUPTED
    found = results.document(trial, options.directory or Path(), balance)
    if not tell(found, options.output):
        return 2
    if trial.interrupt.told:
        return INTERRUPTED
    return 0 if trial.sustained and (balance is None or balance.good) else 1
