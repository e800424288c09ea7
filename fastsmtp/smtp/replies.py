"""What the session says by itself, and how any answer becomes a line.

Every line but the greeting and the answers to HELO and EHLO carries an enhanced code
(RFC 2034 4). No text holds anything the peer sent: there is nothing to inject.
"""

from typing import Final

from fastsmtp.errors import Refused
from fastsmtp.wire.reply import line as line
from fastsmtp.wire.reply import lines as lines

OK: Final = b"250 2.0.0 Ok\r\n"
SENDER_OK: Final = b"250 2.1.0 Ok\r\n"
RECIPIENT_OK: Final = b"250 2.1.5 Ok\r\n"
UPGRADE: Final = b"220 2.0.0 Begin the TLS handshake\r\n"
LOWERED: Final = {
    n: b"250 2.3.6 %d is the new priority of the message\r\n" % n for n in range(10)
}
"""To MAIL, by the priority it has got instead of a higher one (RFC 6710 4.1, 8)."""
START: Final = b"354 End data with <CR><LF>.<CR><LF>\r\n"
CANNOT_VERIFY: Final = b"252 2.0.0 Send mail and it will be tried\r\n"
BYE: Final = b"221 2.0.0 Bye\r\n"
LOGGED_IN: Final = b"235 2.7.0 Authentication successful\r\n"

UNKNOWN: Final = Refused(500, "5.5.2", "Command not recognized", "syntax")
TOO_LONG: Final = Refused(500, "5.5.2", "Line too long", "syntax")
BARE: Final = Refused(500, "5.5.2", "Line has a bare CR, bare LF or NUL", "syntax")
OFF: Final = Refused(502, "5.5.1", "Command not implemented", "syntax")
NO_ARGUMENT: Final = Refused(501, "5.5.4", "Takes no argument", "syntax")
ARGUMENT: Final = Refused(501, "5.5.4", "An argument is missing", "syntax")
BAD_NAME: Final = Refused(501, "5.5.4", "That is not a host name", "syntax")
BAD_RECIPIENT: Final = Refused(501, "5.1.3", "Bad recipient address syntax", "syntax")
BAD_PARAMETER: Final = Refused(501, "5.5.4", "Bad value of a parameter", "syntax")
PARAMETER: Final = Refused(555, "5.5.4", "Parameter not recognized", "syntax")
HELD_LONG: Final = Refused(501, "5.5.4", "Longer than mail is held here", "syntax")
TOO_SOON: Final = Refused(555, "5.5.4", "BY is sooner than we can promise", "syntax")
NOT_ASCII: Final = Refused(553, "5.6.7", "Address needs SMTPUTF8", "syntax")
REPEATED: Final = Refused(501, "5.5.4", "A parameter stands twice", "syntax")
LOGIN_FIRST: Final = Refused(530, "5.7.0", "Authentication required", "auth")
TLS_FIRST: Final = Refused(530, "5.7.0", "Must issue STARTTLS first", "auth")
IN_CLEAR: Final = Refused(538, "5.7.11", "Encryption required for AUTH", "auth")
KNOWN: Final = Refused(503, "5.5.1", "Authenticated already", "sequence")
MECHANISM: Final = Refused(504, "5.5.4", "Mechanism not supported", "syntax")
BASE64: Final = Refused(501, "5.5.2", "That is not base64", "syntax")
LOGIN_LONG: Final = Refused(500, "5.5.6", "Line of AUTH is too long", "syntax")
CANCELLED: Final = Refused(501, "5.7.0", "Authentication cancelled", "auth")
STRANGER: Final = Refused(550, "5.7.0", "XCLIENT is not for you", "auth")
BAD_CHUNK: Final = Refused(501, "5.5.4", "BDAT takes octets and LAST", "syntax")
OUT_OF_STEP: Final = Refused(421, "4.5.0", "Where the chunk ends is unknown", "syntax")
NOT_UTF8: Final = Refused(501, "5.5.2", "That is not UTF-8", "syntax")
SECURED: Final = Refused(503, "5.5.1", "TLS is on already", "sequence")
EARLY: Final = Refused(503, "5.5.0", "Sent before the answer it depends on", "sequence")
TOO_BIG: Final = Refused(552, "5.3.4", "Message is larger than we take", "size")
RECIPIENTS: Final = Refused(452, "4.5.3", "Too many recipients", "limit")
LOOP: Final = Refused(554, "5.4.6", "Too many Received lines: mail loop", "loop")
ERRORS: Final = Refused(421, "4.7.0", "Too many errors", "limit")
COMMANDS: Final = Refused(421, "4.7.0", "Too many commands", "limit")
TROUBLE: Final = Refused(451, "4.3.0", "Our own trouble, try again", "overload")
NO_ROOM: Final = Refused(452, "4.3.1", "Cannot store mail now", "store_error")


def refusal(refused: Refused) -> bytes:
    return line(refused.code, refused.enhanced, refused.text)


def content(status: str, text: str, at_line: int) -> Refused:
    """A message refused for what is in it; `at_line` counts from 1, 0 is unknown."""
    where = f" (line {at_line})" if at_line else ""
    return Refused(554, status, text + where, "content")
