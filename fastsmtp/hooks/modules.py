"""From the name of a module to functions that decide, with every mistake in its place.

A module decides by functions named after the stages, or by the methods of a class named
`Hook`, which is made once with the module's options. A dataclass `Options` of
`fastsmtp.options.option` fields says which options there are; without one `Hook` is
given the table as a dict.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, is_dataclass
from difflib import get_close_matches
from types import ModuleType
from typing import Any, Final

import msgspec

STAGES: Final = {
    "connect": ("facts",),
    "helo": ("facts",),
    "mail": ("facts",),
    "rcpt": ("facts", "address"),
    "data": ("facts",),
    "message": ("facts", "body"),
}
"""What the function of each stage is called with."""
CLASS: Final = "Hook"
OPTIONS: Final = "Options"

Function = Callable[..., Any]


READING: Final = ("email.header", "email.parser", "email.policy")
"""What hooks read mail with. It is loaded before the server becomes another user, who
may not reach it, and only where there are hooks: it takes a megabyte."""


class BadModule(Exception):
    """It cannot decide.

    file, line  of the mistake; "" and 0 where it is in the configuration
    key         the setting it is about: "module" or "options"
    """

    def __init__(
        self, text: str, file: str = "", line: int = 0, key: str = "module"
    ) -> None:
        super().__init__(f"{file}:{line}: {text}" if file else text)
        self.text, self.file, self.line, self.key = text, file, line, key


@dataclass(frozen=True, slots=True)
class Loaded:
    """A module that can decide.

    options   its dataclass `Options`, or None
    doubtful  what is probably a mistake
    """

    name: str
    module: ModuleType
    options: type | None
    doubtful: tuple[BadModule, ...] = field(default=())

    def made(self, options: dict[str, Any]) -> Any:
        """What has the functions: the module, or its `Hook` with these options.

        options  plain values, checked where there is an `Options`. Raises `BadModule`.
        """
        make = getattr(self.module, CLASS, None)
        if make is None:
            if options:
                text = f"has no class {CLASS} that could take them"
                raise BadModule(text, key="options")
            return self.module
        given: Any = options
        if self.options is not None:
            given = msgspec.convert(options, self.options, dec_hook=_converted)
        try:
            return make(given)
        except Exception as error:
            if isinstance(error, ValueError | KeyError | TypeError):
                text = f"are not taken: {_said(error)}"
                raise BadModule(text, key="options") from error
            raise BadModule(_said(error), *_place(error, self.module)) from error


def _converted(kind: type, value: Any) -> Any:
    return kind(value)


def load(name: str, module: str) -> Loaded:
    """Import a .py file, anew each time, or a dotted name. Raises `BadModule`."""
    for needed in READING:
        importlib.import_module(needed)
    if module.endswith(".py"):
        found = _from_file(f"fastsmtp_hook_{name}", module)
    else:
        found = _by_name(module)
    options = getattr(found, OPTIONS, None)
    if options is not None and not (
        isinstance(options, type) and is_dataclass(options)
    ):
        raise BadModule(f"{OPTIONS} is not a dataclass", _file(found), 1)
    whole = getattr(found, CLASS, found)
    if not any(hasattr(whole, stage) for stage in STAGES):
        text = f"decides nothing: it has none of {', '.join(STAGES)}"
        raise BadModule(text, _file(found), _line(whole))
    for stage, given in STAGES.items():
        function = getattr(whole, stage, None)
        if function is not None:
            _check(stage, function, given, is_method=whole is not found)
    return Loaded(name, found, options, tuple(_doubtful(found, whole)))


def functions(decider: Any) -> dict[str, Function]:
    """The functions of what `Loaded.made` gave, by stage."""
    return {
        stage: getattr(decider, stage) for stage in STAGES if hasattr(decider, stage)
    }


def _from_file(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadModule("is not a Python file")
    found = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = found  # dataclasses look themselves up
    try:
        spec.loader.exec_module(found)
    except FileNotFoundError as error:
        if error.filename != os.path.abspath(path):
            raise BadModule(_said(error), *_place(error, found)) from error
        raise BadModule("does not exist") from None
    except Exception as error:
        if before is not None:
            sys.modules[name] = before
        raise BadModule(_said(error), *_place(error, found)) from error
    return found


def _by_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise BadModule("is not an installed module") from None
        raise BadModule(_said(error), *_place(error)) from error
    except Exception as error:
        raise BadModule(_said(error), *_place(error)) from error


def _said(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"is not Python: {error.msg}"
    return f"{type(error).__name__}: {error}"


def _place(error: BaseException, module: ModuleType | None = None) -> tuple[str, int]:
    """Where it was raised: the last line in the module itself, if there is one."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno or 1
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    own = [f for f in frames if module is not None and f.filename == _file(module)]
    if not (own or frames):
        return "", 0
    last = (own or frames)[-1]
    return last.filename, last.lineno or 1


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or module.__name__


def _check(
    stage: str, function: Any, given: tuple[str, ...], *, is_method: bool
) -> None:
    """Whether it can be called as it will be."""
    if not callable(function):
        raise BadModule(f"{stage} is not a function")
    bound = not is_method or inspect.ismethod(function)  # a classmethod is bound
    try:
        signature = inspect.signature(function)
        signature.bind(*given) if bound else signature.bind(function, *given)
    except TypeError:
        wanted = ", ".join(given if bound else ("self", *given))
        text = f"{stage} is called with ({wanted}) and takes {signature}"
        raise BadModule(text, *_defined(function)) from None


def _defined(function: Any) -> tuple[str, int]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else ("", 0)


def _line(whole: Any) -> int:
    try:
        return inspect.getsourcelines(whole)[1] or 1
    except (OSError, TypeError):
        return 1


def _doubtful(module: ModuleType, whole: Any) -> Iterator[BadModule]:
    """Public functions that are nearly named as a stage."""
    for name, value in list(vars(whole).items()):
        own = inspect.isfunction(value) and value.__module__ == module.__name__
        if not own or name in STAGES or name.startswith("_"):
            continue
        if close := get_close_matches(name.lower(), STAGES, n=1, cutoff=0.74):
            text = f"{name} is no stage and is never called; did you mean {close[0]}?"
            yield BadModule(text, *_defined(value))
