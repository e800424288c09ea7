"""Builds every ext/<package>/<name>.pyx as fastsmtp.<package>.<name>, and for a wheel
the C programs of bench/, which is installed as fastsmtp_bench.

FASTSMTP_BUILD selects how:
    release   (default) -O3, no bounds checks
    debug     bounds checks and line trace for coverage; C files beside their sources
    sanitize  release code under AddressSanitizer and UndefinedBehaviorSanitizer
    none      nothing: for an editable install beside modules that were built in place
"""

import os
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

MODE = os.environ.get("FASTSMTP_BUILD", "release")
COMPILE = {
    "none": [],
    "release": ["-O3", "-g1"],
    "debug": ["-O1", "-g"],
    "sanitize": [
        "-O1",
        "-g",
        "-fno-omit-frame-pointer",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
    ],
}[MODE]
LINK = ["-fsanitize=address,undefined"] if MODE == "sanitize" else []
MACROS = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if MODE == "debug" else []


# The fuzzing loop is compiled with what it looks at; see tests/fuzz.
FUZZ = [Path("tests/fuzz/native.pyx")] if MODE == "sanitize" else []

SOURCES = [] if MODE == "none" else sorted(Path("ext").rglob("*.pyx"))


def extension(source: Path) -> Extension:
    name = ".".join(("fastsmtp", *source.relative_to("ext").with_suffix("").parts))
    return built(source, name)


def built(source: Path, name: str) -> Extension:
    return Extension(
        name,
        [str(source)],
        include_dirs=["ext", "tests/fuzz"],
        extra_compile_args=[*COMPILE, "-Wall", "-Wno-unused-function", "-pthread"],
        extra_link_args=[*LINK, "-pthread"],
        define_macros=MACROS,
        depends=[
            str(p)
            for p in (*Path("ext").rglob("*.[ph]*"), *Path("fastsmtp").rglob("*.pxd"))
            if p.suffix in (".h", ".pxd", ".pxi")
        ],
    )


class Build(build_ext):
    """Compiles the bench's programs too, unless the modules stay in place: a checkout
    compiles them when they are first needed."""

    def run(self) -> None:
        super().run()
        if self.inplace or MODE == "none":
            return
        target = Path(self.build_lib, "fastsmtp_bench", "bin")
        target.mkdir(parents=True, exist_ok=True)
        for source in sorted(Path("bench").glob("*.c")):
            words = ["cc", "-O2", "-o", str(target / source.stem), str(source)]
            subprocess.run([*words, "-ldl", "-lm"], check=True)


# Cython's processes import this file when they are not forked: Python 3.14
if __name__ == "__main__":
    setup(
        cmdclass={"build_ext": Build},
        packages=[*find_packages(include=["fastsmtp", "fastsmtp.*"]), "fastsmtp_bench"],
        package_dir={"fastsmtp_bench": "bench"},
        ext_modules=cythonize(
            [extension(p) for p in SOURCES]
            + [built(p, f"fuzz_{p.stem}") for p in FUZZ],
            include_path=[".", "ext", "tests/fuzz"],
            build_dir=None if MODE == "debug" else "build/cython",
            nthreads=2,
            compiler_directives={
                "language_level": 3,
                "boundscheck": MODE == "debug",
                "wraparound": False,
                "cdivision": True,
                "linetrace": MODE == "debug",
                "profile": MODE == "debug",
                "embedsignature": False,
            },
        ),
    )
