"""What an operator may set about hooks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fastsmtp.options import (
    CHOICE,
    CHOICES,
    COUNT,
    DURATION,
    MODULE,
    REQUIRED,
    TABLE,
    option,
)

Failure = Literal["accept", "defer", "reject"]
Listener = Literal["smtp", "submission", "submissions", "lmtp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookOptions:
    """A `[hooks.NAME]` table. Hooks are asked in the order of the file."""

    module: str = option(
        REQUIRED,
        "what decides: a .py file, or the dotted name of an installed module",
        MODULE,
    )
    deadline: float = option(
        5.0, "longest wait for one answer", DURATION, low=0.01, high=300
    )
    on_failure: Failure = option(
        "defer",
        "what it means when the hook is late, raises or is busy: accept goes on without"
        " it, defer answers 451, reject 554",
        CHOICE,
    )
    at_most: int = option(
        100, "questions at once; one more counts as a failure", COUNT, low=1
    )
    threads: int = option(
        8, "threads for functions that are not async", COUNT, low=1, high=1000
    )
    listeners: list[Listener] = option(
        ["smtp"], "kinds of listener whose clients it is asked about", CHOICES
    )
    options: dict[str, Any] = option(
        {}, "a table for the module itself, see docs/hooks.md", TABLE
    )

    def moved(self, place: Callable[[Path], Path]) -> "HookOptions":
        """With the path of a file as `place` gives it."""
        if not self.module.endswith(".py"):
            return self
        return replace(self, module=str(place(Path(self.module))))
