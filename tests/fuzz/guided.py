"""`python -m tests.fuzz.guided TARGET [options of libFuzzer]`, with atheris.

Needs `pip install atheris`, for the versions of Python that it has a wheel for. What
is written in Python is instrumented; compiled parsers are not, so their seeds are kept
whether they are new to it or not. Inputs are collected in build/guided/TARGET.
"""

import hashlib
import sys
from pathlib import Path

import atheris

from tests.fuzz.corpus import PURE, TARGETS

with atheris.instrument_imports(include=["fastsmtp"]):
    from tests.fuzz.targets import FACES

WHERE = Path(__file__).parent.parent.parent / "build" / "guided"


def begin(name: str) -> list[str]:
    """Writes the seeds and the words of a target; the options that name them."""
    seeds, words = {**TARGETS, **PURE}[name]
    folder = WHERE / name
    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds:
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
        FACES[name](data)
    lines = ('"' + "".join(f"\\x{octet:02x}" for octet in word) + '"' for word in words)
    (WHERE / f"{name}.words").write_text("\n".join(lines) + "\n")
    return [f"-dict={WHERE / name}.words", "-keep_seed=1", str(folder)]


def main() -> None:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else "body"
    atheris.Setup([*sys.argv, *begin(name)], FACES[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
