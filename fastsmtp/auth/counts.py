"""The cells of a process that lets clients log in."""

from typing import Final

from fastsmtp.cells import Labelled

PROTOCOLS: Final = ("smtp", "pop3")
MECHANISMS: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "USER")
"""USER: a name and a password without SASL, as POP3 has it."""
RESULTS: Final = ("ok", "bad_password", "unknown_user", "blocked", "error")
"""blocked: not looked at, after too many failures; error: nonsense from the client, or
our own trouble."""

ATTEMPTS: Final = Labelled(
    0, (("protocol", PROTOCOLS), ("mechanism", MECHANISMS), ("result", RESULTS))
)
CELLS: Final = ATTEMPTS.end
