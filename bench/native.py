"""The C programs of this folder, as they were installed or compiled when needed."""

import hashlib
import os
import subprocess
import threading
from pathlib import Path

HERE = Path(__file__).parent
INSTALLED = HERE / "bin"
CHECKOUT = HERE.parent / "build"


def program(name: str) -> Path:
    """The executable made from `<name>.c`.

    An installed package brings it; a checkout compiles it once per version of the
    sources, with the C compiler named `cc`.
    """
    if (built := INSTALLED / name).exists():
        return built
    target = cache() / f"{name}-{version()}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = own(target)
        compile_to(HERE / f"{name}.c", fresh)
        fresh.rename(target)
    return target


def preloaded(name: str) -> Path:
    """The library for LD_PRELOAD made from preload/`name`.c, with `cc` when needed."""
    source = HERE / "preload" / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    target = cache() / f"{name}-{digest}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = own(target)
        flags = ["-O1", "-shared", "-fPIC", "-o", str(fresh)]
        subprocess.run(["cc", *flags, str(source), "-ldl"], check=True)
        fresh.rename(target)
    return target


def own(target: Path) -> Path:
    """A name beside it that no other thread of any process compiles to."""
    return target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}")


def compile_to(source: Path, target: Path) -> None:
    """Raises CalledProcessError, or FileNotFoundError without a compiler."""
    flags = ["-O2", "-Wall", "-Wextra", "-o", str(target)]
    subprocess.run(["cc", *flags, str(source), "-ldl", "-lm"], check=True)


def cache() -> Path:
    """build/bench of a checkout, else a folder among the user's caches."""
    if CHECKOUT.is_dir():
        return CHECKOUT / "bench"
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / "fastsmtp-bench" / "built"


def version() -> str:
    """Of all C sources together."""
    digest = hashlib.sha256()
    for path in sorted((*HERE.glob("*.c"), *HERE.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
