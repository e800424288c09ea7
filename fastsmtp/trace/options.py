"""What an operator may set about traces of messages."""

from dataclasses import dataclass

from fastsmtp.options import DURATION, MIB, SIZE, option


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyOptions:
    """The `[why]` table: what `fastsmtp why` remembers."""

    size: int = option(
        64 * MIB,
        "most a process keeps of what became of messages, a quarter more of what was "
        "refused; the oldest goes first; 0: nothing is kept",
        SIZE,
        high=4 * 1024 * MIB,
    )
    keep: float = option(
        7 * 86400.0, "age at which it is erased all the same", DURATION, low=60
    )
