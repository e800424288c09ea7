"""What an operator may set about delivery. Times are seconds."""

from dataclasses import dataclass

from fastsmtp.options import COUNT, DURATION, option


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOptions:
    """The `[delivery]` table."""

    first_retry: float = option(
        300.0, "pause before the second attempt", DURATION, low=1
    )
    second_retry: float = option(
        900.0, "pause before the third attempt", DURATION, low=1
    )
    retry: float = option(1800.0, "pause before each later attempt", DURATION, low=1)
    give_up: float = option(
        432_000.0,
        "age at which a message that cannot be delivered is put on hold "
        "(RFC 5321 4.5.4.1: at least 4 to 5 days)",
        DURATION,
        low=60,
    )
    claim: int = option(
        100, "queued messages one process takes at a time", COUNT, low=1
    )

    @property
    def steps(self) -> tuple[float, ...]:
        """For `fastsmtp.queue.backoff.pause`."""
        return (self.first_retry, self.second_retry, self.retry)
