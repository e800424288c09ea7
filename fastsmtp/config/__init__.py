"""The configuration: the only reader of its file and of FASTSMTP_* variables.

source   the TOML text, the lines of its keys, the environment
kinds    how each kind of setting is written
reader   source -> Config, collecting every mistake
hooked   the modules of hooks: that they can be imported, and their options
meaning  what is well written and yet wrong
model    Config itself
document the same option texts as a commented file and as a page
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastsmtp.config.model import (
    Config,
    LogOptions,
    MetricsOptions,
    ProcessOptions,
)
from fastsmtp.config.problem import ConfigErrors, Problem

if TYPE_CHECKING:
    from fastsmtp.config.meaning import Known

__all__ = [
    "Config",
    "ConfigErrors",
    "LogOptions",
    "MetricsOptions",
    "Problem",
    "ProcessOptions",
    "check",
    "find",
    "load",
    "outline",
]

PLACES: Final = ("fastsmtp.toml", "/etc/fastsmtp/fastsmtp.toml")
"""Where the file is looked for when none is named."""


def find(named: str | None) -> Path:
    """The file to read; raises `ConfigErrors` when none is named and none is there."""
    if named is not None:
        return Path(named)
    for place in PLACES:
        if os.path.exists(place):
            return Path(place)
    raise ConfigErrors(
        [
            Problem(
                source="fastsmtp",
                key="configuration",
                text=f"not found: neither {' nor '.join(PLACES)} is there",
                advice="name one with -c FILE, or write one with"
                " `fastsmtp quickstart DIR --domain D`",
            )
        ]
    )


def check(
    path: str | Path,
    environ: Mapping[str, str] | None = None,
    known: "Known | None" = None,
) -> tuple[Config | None, list[Problem]]:
    """The configuration, or None when it cannot be used, and every finding.

    known  whether an account has this address; None where nobody can say"""
    return _read(path, environ, known, modules=True)


def _read(
    path: str | Path,
    environ: Mapping[str, str] | None,
    known: "Known | None",
    *,
    modules: bool,
) -> tuple[Config | None, list[Problem]]:
    """modules: import those of hooks and look at certificates, too.

    What reads and examines is loaded here: the processes of a server are given what
    it made."""
    from fastsmtp.config.hooked import hooked
    from fastsmtp.config.meaning import examine
    from fastsmtp.config.reader import Reader
    from fastsmtp.config.source import read_source

    try:
        source = read_source(Path(path), os.environ if environ is None else environ)
    except ConfigErrors as errors:
        return None, errors.problems
    reader = Reader(source)
    config = reader.config()
    if modules:
        config = hooked(config, reader)
        reader.unused()
    problems = reader.problems + examine(config, source, known, serving=modules)
    problems.sort(key=lambda problem: (problem.line == 0, problem.line, problem.column))
    if any(problem.severity == "error" for problem in problems):
        return None, problems
    return config, problems


def outline(path: Path) -> Config | None:
    """What a file says that may have mistakes, with defaults for what is wrong: to
    find the server that runs with it. None when nothing can be read from it."""
    from fastsmtp.config.reader import Reader
    from fastsmtp.config.source import read_source

    try:
        source = read_source(path, os.environ)
    except ConfigErrors:
        return None
    return Reader(source).config()


def load(path: str | Path, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration for those who do not serve: modules of hooks and certificates
    are not looked into. Raises `ConfigErrors` with all mistakes at once."""
    config, problems = _read(path, environ, None, modules=False)
    if config is None:
        raise ConfigErrors(problems)
    return config
