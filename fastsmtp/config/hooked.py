"""The modules of hooks: imported here, so that a mistake in one is told with its line
before it is trusted with mail, and their options are read like all other settings."""

from dataclasses import replace
from typing import Any

import msgspec

from fastsmtp.config.model import Config
from fastsmtp.config.places import Key
from fastsmtp.config.problem import Problem
from fastsmtp.config.reader import Reader
from fastsmtp.config.source import dotted
from fastsmtp.hooks.counts import SLOTS
from fastsmtp.hooks.modules import BadModule, Loaded, load
from fastsmtp.hooks.options import HookOptions
from fastsmtp.owner import as_owner


def hooked(config: Config, reader: Reader) -> Config:
    """With the options of each hook as its module wants them. What is wrong becomes a
    problem of `reader`, and the hook stays as it was."""
    hooks = dict(config.hooks)
    for number, (name, hook) in enumerate(config.hooks.items()):
        path: Key = ("hooks", name)
        if number >= SLOTS:
            text = f"is one hook too many; there may be {SLOTS}"
            _problem(reader, path, BadModule(text))
            break
        try:
            with as_owner(config.data):  # as who serves will
                hooks[name] = _examined(reader, name, hook)
        except BadModule as bad:
            _problem(reader, (*path, bad.key), bad, f'"{hook.module}"')
    return replace(config, hooks=hooks)


def _examined(reader: Reader, name: str, hook: HookOptions) -> HookOptions:
    path: Key = ("hooks", name, "options")
    loaded = load(name, hook.module)
    for doubt in loaded.doubtful:
        _problem(reader, path[:2], doubt, severity="warning")
    options = _options(reader, loaded, path, hook.options)
    if options is None:
        return hook
    loaded.made(options)
    return replace(hook, options=options)


def _options(
    reader: Reader, loaded: Loaded, path: Key, given: dict[str, Any]
) -> dict[str, Any] | None:
    """As plain values, which go to other processes; None when something is wrong."""
    if loaded.options is None:
        return given
    known = len(reader.problems)
    try:
        options = reader.options(loaded.options, path, given)
    except KeyError as error:
        text = f"a field of Options was not made with option(): no {error}"
        raise BadModule(text, loaded.module.__file__ or "", 1) from None
    if options is None or len(reader.problems) > known:
        return None
    plain: dict[str, Any] = msgspec.to_builtins(options, enc_hook=str)
    return plain


def _problem(
    reader: Reader,
    path: Key,
    bad: BadModule,
    value: str = "",
    severity: Any = "error",
) -> None:
    """In the configuration, or in the file of the module when that is known."""
    place = reader.source.place(path)
    source, line, column = reader.source.file, place.line, place.column
    if bad.file:
        source, line, column = bad.file, bad.line, 1
    reader.problems.append(
        Problem(
            source=source,
            key=dotted(path),
            line=line,
            column=column,
            value="" if bad.file or bad.key == "options" else value,
            text=bad.text,
            severity=severity,
        )
    )
