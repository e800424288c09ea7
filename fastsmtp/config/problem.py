"""A mistake in a configuration, said so that one can mend it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding.

    source    the file, or "environment"
    line      from 1; 0 where a line makes no sense
    key       dotted path of the setting, or the name of the variable
    value     as it was written, shortened; "" when that is not to be shown
    text      what is wrong, one clause
    allowed   what may stand there; "" when that says nothing
    advice    what to do; "" when the rest says it
    severity  a warning does not keep the server from starting
    """

    source: str
    key: str
    text: str
    line: int = 0
    column: int = 0
    value: str = ""
    allowed: str = ""
    advice: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = self.source
        if self.line:
            place += f":{self.line}:{self.column}"
        shown = f"{self.key} = {self.value}" if self.value else self.key
        parts = [f"{place}: {self.severity}: {shown}: {self.text}"]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.advice:
            parts.append(self.advice)
        return "\n    ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ConfigErrors(Exception):
    """A configuration that cannot be used; `problems` holds every finding in it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
