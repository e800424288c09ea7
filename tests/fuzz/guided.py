"""`python -m tests.fuzz.guided TARGET [options of libFuzzer]`, with atheris.

Needs `pip install atheris`, for the versions of Python that it has a wheel for.
"""

import sys

import atheris

from tests.fuzz.corpus import PURE, TARGETS
from tests.fuzz.targets import FACES


def main() -> None:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else "body"
    for data in {**TARGETS, **PURE}[name][0]:
        FACES[name](data)
    atheris.Setup(sys.argv, FACES[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
