"""Compiles the C programs of this folder, once per version of their source."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE.parent / "build" / "bench"


def program(name: str) -> Path:
    """The executable made from `<name>.c`; wants a C compiler named `cc`."""
    source, target = HERE / f"{name}.c", BUILT / name
    newest = max(path.stat().st_mtime for path in (source, *HERE.glob("*.h")))
    if target.exists() and target.stat().st_mtime >= newest:
        return target
    BUILT.mkdir(parents=True, exist_ok=True)
    fresh = BUILT / f"{name}.{os.getpid()}"
    flags = ["-O2", "-Wall", "-Wextra", "-o", str(fresh)]
    subprocess.run(["cc", *flags, str(source), "-ldl"], check=True)
    fresh.rename(target)
    return target
