"""The hooks of a process: made from the configuration, opened, asked, closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import isawaitable
from types import ModuleType
from typing import Any, Final

from fastsmtp.hooks.modules import STAGES, BadModule, functions, load
from fastsmtp.hooks.options import HookOptions
from fastsmtp.hooks.questions import Hook
from fastsmtp.report import Report
from fastsmtp.serve.checks import Checks

OPENING: Final = 10.0  # seconds for `open` and `close` of a hook
FIELDS: Final = {"helo": "hello"}  # stages that `Checks` names differently


class CannotOpen(OSError):
    """A hook that was right when it was checked cannot be used."""


class Deciding:
    """hooks  in the order in which they are asked"""

    def __init__(self, hooks: list[Hook]) -> None:
        self.hooks = hooks

    def checks(self, listener: str) -> Checks:
        """What decides about the clients of one kind of listener."""
        mine = [hook for hook in self.hooks if listener in hook.options.listeners]
        stages = {
            FIELDS.get(stage, stage): tuple(
                hook.check(stage) for hook in mine if stage in hook.functions
            )
            for stage in STAGES
        }
        return Checks(**stages)


@asynccontextmanager
async def opened(
    options: Mapping[str, HookOptions],
    cells: Callable[[str], memoryview[int]],
    report: Report,
) -> AsyncIterator[Deciding]:
    """cells  gives the cells of a hook by its name. Raises `CannotOpen`."""
    async with AsyncExitStack() as stack:
        hooks = []
        for name, each in options.items():
            decider = _made(name, each)
            await _call(name, decider, "open")
            stack.push_async_callback(_closed, name, decider, report)
            hook = Hook(name, each, functions(decider), cells(name), report)
            stack.callback(hook.close)
            hooks.append(hook)
        yield Deciding(hooks)


def _made(name: str, options: HookOptions) -> Any:
    try:
        return load(name, options.module).made(options.options)
    except BadModule as bad:
        raise CannotOpen(f"hooks.{name}: {bad}") from bad


async def _call(name: str, decider: Any, what: str) -> None:
    """`open` or `close` of a `Hook`, where it has one."""
    function = getattr(decider, what, None)
    if function is None or isinstance(decider, ModuleType):
        return
    try:
        waits = function()
        if isawaitable(waits):
            async with asyncio.timeout(OPENING):
                await waits
    except Exception as error:
        text = f"hooks.{name}: {what}: {type(error).__name__}: {error}"
        raise CannotOpen(text) from error


async def _closed(name: str, decider: Any, report: Report) -> None:
    try:
        await _call(name, decider, "close")
    except CannotOpen as error:
        report.fault(f"hook {name}", error)
