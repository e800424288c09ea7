"""What the server itself refuses; what the dialogue does is in `smtp.replies`."""

from typing import Final

from fastsmtp.errors import Refused

TIMEOUT: Final = Refused(421, "4.4.2", "Timeout, closing connection", "limit")
FULL: Final = Refused(421, "4.7.0", "Too many connections", "limit")
BANNED: Final = Refused(554, "5.7.1", "Not welcome here", "banned")
EARLY: Final = Refused(
    554, "5.5.1", "You spoke before you were greeted", "early_talker"
)
SHARE: Final = Refused(
    421, "4.3.2", "Busy, and your network has its share of connections", "overload"
)
SHARE_OF_MAIL: Final = Refused(
    451, "4.3.2", "Busy, and your network has its share; try again later", "overload"
)
LEAVING: Final = Refused(421, "4.3.2", "Shutting down, try again", "overload")
UNKNOWN: Final = Refused(
    550, "5.1.1", "No such user here", "unknown_recipient", "no account"
)
NOT_THERE: Final = Refused(
    *(550, "5.1.1", "No such user here", "unknown_recipient"),
    "the next hop has no such recipient",
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


def too_many(what: str, code: int, enhanced: str, seconds: float) -> Refused:
    """More than the rate of a client network allows."""
    text = f"Too many {what} from your network, try again in {seconds:.0f} s"
    return Refused(code, enhanced, text, "rate")
