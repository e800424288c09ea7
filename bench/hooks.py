"""fastsmtp-bench hooks: what a hook that says yes adds to each message.

Servers with and without hooks are driven in turn by the same client with W1 (20
sessions, 4 KiB); CPU is all of the server's. The difference to the server without a
hook is taken inside each round, and its median counts.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from fastsmtp_bench import arguments, machine
from fastsmtp_bench.accounts import serving
from fastsmtp_bench.client import Run, Target, run
from fastsmtp_bench.served import Served
from fastsmtp_bench.workloads import WORKLOADS

NONE: Final = "no hook"
MODULES: Final = {
    NONE: "",
    "async rcpt": "async def rcpt(facts, address):\n    return None\n",
    "plain rcpt": "def rcpt(facts, address):\n    return None\n",
    "async message": "async def message(facts, body):\n    return None\n",
    "async message, header": "from fastsmtp.hooks import Accept\n"
    "async def message(facts, body):\n    return Accept([('X-Seen', 'yes')])\n",
}
"""Names of the rows, and the module of the hook."""
HOOK: Final = '[hooks.bench]\nmodule = "bench_hook.py"\nat_most = 1000\n'


def asking(home: Path, mode: Any, module: str) -> Served:
    """A server that asks this module."""
    home.mkdir()
    (home / "bench_hook.py").write_text(module)
    return Served(home, mode=mode, more=HOOK if module else "")


def measure(
    directory: Path, mode: str, rounds: int, scale: float
) -> dict[str, list[Run]]:
    work = WORKLOADS["W1"].scaled(scale)
    done: dict[str, list[Run]] = {name: [] for name in MODULES}
    with tempfile.TemporaryDirectory(dir=directory) as home, ExitStack() as stack:
        targets = {}
        for number, (name, module) in enumerate(MODULES.items()):
            one = asking(Path(home) / str(number), mode, module)
            server = stack.enter_context(serving(one))
            targets[name] = Target(server.port, server.pid, metrics=server.metrics)
            run("load", work.scaled(0.1), targets[name])
        for _ in range(rounds):
            for name, target in targets.items():
                done[name].append(run("load", work, target))
    return done


def table(done: dict[str, list[Run]]) -> str:
    lines = ["| | messages/s | CPU µs | more µs |", "|---|---|---|---|"]
    for name, runs in done.items():
        pairs = zip(runs, done[NONE], strict=True)
        more = median(one.server_cpu - none.server_cpu for one, none in pairs)
        rate = median(r.rate for r in runs)
        cpu = median(r.server_cpu for r in runs)
        lines.append(f"| {name} | {rate:,.0f} | {cpu:.1f} | {more:+.1f} |")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("hooks", __doc__)
    arguments.measured(parser, rounds=5, scale=0.3, mode="split")
    options = parser.parse_args(words)
    print(f"{machine.processor()}; {machine.versions()}; mode {options.mode}; W1")
    print()
    given = (options.directory, options.mode, options.rounds, options.scale)
    print(table(measure(*given)))
