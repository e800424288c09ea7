"""The seven workloads, for our own client and for smtp-source."""

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Workload:
    """What a client does; sizes are octets of payload, the header section not counted.

    messages  in one run against a server that stores nothing
    """

    name: str
    sessions: int
    size: int
    messages: int
    persistent: bool = True
    recipients: int = 1

    def scaled(self, scale: float) -> "Workload":
        return replace(self, messages=max(self.sessions, int(self.messages * scale)))

    def load_arguments(self) -> list[str]:
        """The workload in the words of `load`."""
        return [
            *("--sessions", str(self.sessions), "--size", str(self.size)),
            *("--messages", str(self.messages), "--recipients", str(self.recipients)),
            *([] if self.persistent else ["--per-connection"]),
        ]

    def source_arguments(self) -> list[str]:
        """The workload in the words of smtp-source."""
        return [
            *(["-d"] if self.persistent else []),
            *("-s", str(self.sessions), "-l", str(self.size)),
            *("-m", str(self.messages), "-r", str(self.recipients)),
        ]


KIB: Final = 1024
WORKLOADS: Final = {
    w.name: w
    for w in (
        Workload("W1", 20, 4 * KIB, 30_000),
        Workload("W2", 20, 4 * KIB, 10_000, persistent=False),
        Workload("W3", 200, 4 * KIB, 30_000),
        Workload("W4", 10, 1024 * KIB, 500),
        Workload("W5", 20, 512, 40_000),
        Workload("W6", 1, 4 * KIB, 6_000),
        Workload("W7", 20, 4 * KIB, 8_000, recipients=10),
    )
}
