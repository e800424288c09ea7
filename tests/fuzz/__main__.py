"""`python -m tests.fuzz [--executions N] [--seed S] [TARGET ...]`

Builds the compiled parsers and the loop around them with AddressSanitizer and
UndefinedBehaviorSanitizer under build/sanitize, and runs the loop there. The same
seed repeats the same run. When a sanitizer ends it, the input is in
build/sanitize/input: its length in 8 octets, then its octets.
"""

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
WHERE = ROOT / "build" / "sanitize"
TARGETS = (
    *("body", "command", "address", "record", "session", "replies", "transfer"),
    "fetch",
)


def build() -> None:
    """Only what changed is built again."""
    subprocess.run(
        [
            *(sys.executable, "setup.py", "-q", "build"),
            *("--build-base", WHERE, "--build-lib", WHERE / "lib"),
        ],
        cwd=ROOT,
        env={**os.environ, "FASTSMTP_BUILD": "sanitize"},
        check=True,
    )


def run(executions: int, seed: int, targets: list[str]) -> int:
    """The exit code of the loop: 0 when every law held and no sanitizer objected."""
    library = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": library.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": f"{WHERE / 'lib'}{os.pathsep}{ROOT}",
    }
    # -P: the packages in the current directory are those without sanitizers
    command = [sys.executable, "-P", "-m", "tests.fuzz.loop", str(WHERE / "input")]
    return subprocess.run(
        [*command, str(executions), str(seed), *targets], env=environment
    ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument(
        "--executions",
        type=int,
        default=10_000_000,
        help="in all, shared by the targets (default: 10 million)",
    )
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument(
        "targets", nargs="*", help=f"of {', '.join(TARGETS)} (default: all)"
    )
    arguments = parser.parse_args()
    build()
    return run(arguments.executions, arguments.seed, arguments.targets or [*TARGETS])


if __name__ == "__main__":
    sys.exit(main())
