"""What the server itself refuses; what the dialogue does is in `smtp.replies`."""

from typing import Final

from fastsmtp.errors import Refused

TIMEOUT: Final = Refused(421, "4.4.2", "Timeout, closing connection", "limit")
FULL: Final = Refused(421, "4.7.0", "Too many connections", "limit")
LEAVING: Final = Refused(421, "4.3.2", "Shutting down, try again", "overload")
UNKNOWN: Final = Refused(
    550, "5.1.1", "No such user here", "unknown_recipient", "no account"
)
RELAY: Final = Refused(550, "5.7.1", "Relay access denied", "relay", "foreign domain")
TROUBLE: Final = Refused(
    451, "4.3.0", "Local error, try again later", "store_error", "a check failed"
)


def unavailable(cause: str) -> Refused:
    """Our own trouble is temporary for the sender, and says nothing of our insides."""
    return Refused(
        452, "4.3.1", "Cannot store mail now, try again later", "store_error", cause
    )
