"""fastsmtp-bench instructions: counts instead of seconds, against a baseline.

Each case runs under callgrind of valgrind, which counts the instructions that a message
costs: the same on a busy machine as on a quiet one, so that a change of a few per cent
is seen. The baseline stands for one interpreter, compiler and machine; on another there
is nothing to compare, which is said and is no failure.

    fastsmtp-bench instructions            compare
    fastsmtp-bench instructions --write    make this the baseline
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastsmtp_bench import arguments
from fastsmtp_bench.counted import CASES
from fastsmtp_bench.native import HERE

BASELINE: Final = HERE / "instructions.json"
SECONDS: Final = 900
MARKS: Final = """\
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(const char *name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
"""
DUMP: Final = re.compile(r"^desc: Trigger: Client Request: (.+)$", re.MULTILINE)
TOTAL: Final = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


class Missing(Exception):
    """Instructions cannot be counted here; says why."""


def surroundings() -> dict[str, str]:
    """What a count depends on besides our code."""
    compiler = subprocess.run(
        ["cc", "-dumpversion"], capture_output=True, text=True, check=True
    ).stdout.strip()
    valgrind = subprocess.run(
        ["valgrind", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "python": platform.python_version(),
        "built with": str(sysconfig.get_config_var("CC")).split()[0]
        + " "
        + platform.python_compiler(),
        "compiler": compiler,
        "cython": version("Cython"),
        "lmdb": version("lmdb"),
        "msgspec": version("msgspec"),
        "machine": platform.machine(),
        "valgrind": valgrind,
    }


def demand_tools() -> None:
    """Raises Missing."""
    for tool in ("valgrind", "cc"):
        if not shutil.which(tool):
            raise Missing(f"{tool} is not installed")
    if not Path("/usr/include/valgrind/callgrind.h").exists():
        raise Missing("there is no valgrind/callgrind.h")


def count(names: list[str]) -> dict[str, float]:
    """Instructions per thing of each case. Raises Missing, CalledProcessError."""
    demand_tools()
    with tempfile.TemporaryDirectory(prefix="fastsmtp-count-") as name:
        place = Path(name)
        (place / "marks.c").write_text(MARKS)
        library = place / "marks.so"
        flags = ["-O2", "-shared", "-fPIC", "-o", str(library)]
        subprocess.run(["cc", *flags, str(place / "marks.c")], check=True)
        command = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no"]
        command += ["--separate-threads=yes"]  # only the first one is looked at
        command += [f"--callgrind-out-file={place}/out", sys.executable]
        subprocess.run(
            [*command, "-m", "fastsmtp_bench.counted", str(library), *names],
            check=True,
            timeout=SECONDS,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        return read(place, names)


def read(place: Path, names: list[str]) -> dict[str, float]:
    """What callgrind wrote in this folder: the least of each case."""
    found: dict[str, float] = {}
    for path in place.glob("out.*-01"):
        text = path.read_text(errors="replace")
        case, total = DUMP.search(text), TOTAL.search(text)
        if case and total and case[1] in CASES:
            each = int(total[1]) / CASES[case[1]].each
            found[case[1]] = min(each, found.get(case[1], each))
    return {name: round(found[name], 1) for name in names}


def uncounted() -> list[str]:
    """Compiled modules that no case names."""
    import fastsmtp

    root = Path(fastsmtp.__file__).parent
    built = {
        ".".join(path.relative_to(root).with_name(path.name.split(".")[0]).parts)
        for path in root.rglob("*.so")
    }
    return sorted(built - {name for case in CASES.values() for name in case.modules})


def table(now: dict[str, float], before: dict[str, float]) -> list[str]:
    lines = []
    for name, instructions in now.items():
        if name not in before:
            lines.append(f"{name:26} {instructions:12,.0f}  not in the baseline")
            continue
        change = instructions / before[name] - 1
        spread = CASES[name].spread
        word = "  MORE" if change > spread else ""
        word = "  less" if change < -spread else word
        room = f"±{spread:.0%}"
        lines.append(f"{name:26} {instructions:12,.0f}  {change:+8.2%} {room:>5}{word}")
    return lines


def worse(now: dict[str, float], before: dict[str, float]) -> list[str]:
    """Cases that take more instructions than they may."""
    both = now.keys() & before.keys()
    return sorted(n for n in both if now[n] > before[n] * (1 + CASES[n].spread))


def compared(now: dict[str, float], baseline: dict[str, Any]) -> int:
    before = baseline["counts"]
    print("\n".join(table(now, before)))
    if more := worse(now, before):
        print(f"more instructions than the baseline: {', '.join(more)}")
        print("if that is what it costs: fastsmtp-bench instructions --write")
        return 1
    return 0


def main(words: list[str] | None = None) -> int:
    parser = arguments.parser("instructions", __doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="unset: all")
    parser.add_argument("--write", action="store_true", help="make a new baseline")
    options = parser.parse_args(words)
    if unknown := set(options.cases) - set(CASES):
        case = sorted(unknown)[0]
        parser.error(f"no case {case!r}; {arguments.nearest(case, CASES)}")
    try:
        demand_tools()
        here = surroundings()
        baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
        if not options.write and baseline.get("surroundings") != here:
            raise Missing(
                f"the baseline is of {baseline.get('surroundings')}, here is {here}"
            )
        now = count(options.cases or list(CASES))
    except Missing as why:
        print(f"instructions are not compared: {why}")
        return 0
    if left := uncounted():
        print(f"no case counts {', '.join(left)}")
    if not options.write:
        return compared(now, baseline)
    kept = baseline.get("counts", {}) if options.cases else {}
    text = json.dumps({"surroundings": here, "counts": kept | now}, indent=1)
    BASELINE.write_text(text + "\n")
    print("\n".join(table(now, {})))
    return 0
