"""What the session says. No text holds anything the peer sent: there is nothing to
inject. Response codes in brackets are those of RFC 2449 and RFC 3206."""

from typing import Final

from fastsmtp.errors import Refused

OK: Final = b"+OK\r\n"
NAME_OK: Final = b"+OK Send the password\r\n"
UTF8_OK: Final = b"+OK UTF-8\r\n"
UPGRADE: Final = b"+OK Begin the TLS handshake\r\n"
BYE: Final = b"+OK Bye\r\n"
UNKNOWN: Final = b"-ERR Command not recognized\r\n"
TOO_LONG: Final = b"-ERR Line too long\r\n"
BARE: Final = b"-ERR Line has a bare CR, bare LF or NUL\r\n"
NO_ARGUMENT: Final = b"-ERR Takes no argument\r\n"
ARGUMENT: Final = b"-ERR An argument is missing\r\n"
LOGIN_FIRST: Final = b"-ERR Log in first\r\n"
LOGGED_IN: Final = b"-ERR Logged in already\r\n"
USER_FIRST: Final = b"-ERR USER comes first\r\n"
TLS_FIRST: Final = b"-ERR A password is not taken in clear: say STLS first\r\n"
NO_TLS: Final = b"-ERR A password is not taken in clear, and there is no TLS here\r\n"
SECURED: Final = b"-ERR TLS is on already\r\n"
OFF: Final = b"-ERR Not offered here\r\n"
MECHANISM: Final = b"-ERR Mechanism not supported\r\n"
BASE64: Final = b"-ERR That is not base64\r\n"
CANCELLED: Final = b"-ERR Authentication cancelled\r\n"
NUMBER: Final = b"-ERR A message number is digits\r\n"
NO_MESSAGE: Final = b"-ERR No such message\r\n"
DELETED: Final = b"-ERR That message is marked as deleted\r\n"
LINES: Final = b"-ERR TOP takes a message number and a number of lines\r\n"
ERRORS: Final = b"-ERR Too many errors\r\n"
TIMEOUT: Final = b"-ERR Timeout: nothing was deleted\r\n"
GONE: Final = b"-ERR That message is there no more\r\n"
DAMAGED: Final = b"-ERR [SYS/PERM] That message is damaged on our disk\r\n"
FULL: Final = b"-ERR [SYS/TEMP] Too many connections\r\n"
LEAVING: Final = b"-ERR [SYS/TEMP] Shutting down, try again\r\n"
TROUBLE: Final = Refused(451, "4.3.0", "Our own trouble, try again", "overload")


def refusal(refused: Refused) -> bytes:
    """How a refusal of the door reads. AUTH says that name or password were wrong, and
    SYS/TEMP that it is not the user's fault (RFC 3206 3)."""
    code = ""
    if refused.code < 500:
        code = "[SYS/TEMP] "
    elif refused.reason == "auth":
        code = "[AUTH] "
    return f"-ERR {code}{refused.text}\r\n".encode()


def logged_in(messages: int, octets: int) -> bytes:
    return b"+OK %d messages (%d octets)\r\n" % (messages, octets)


def removed(messages: int) -> bytes:
    return b"+OK Bye, %d removed\r\n" % messages


def capabilities(lines: tuple[str, ...]) -> bytes:
    """The answer to CAPA (RFC 2449 5)."""
    return "\r\n".join(("+OK", *lines, ".", "")).encode()
