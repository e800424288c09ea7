"""What `ext/commandline.pxd` must accept, as regular expressions of the grammar.

RFC 5321 4.1.2 and 4.1.3 with what Postfix tolerates: dots anywhere in a local part,
"_" in a domain, no brackets, blanks behind the colon. Faults are not told apart here.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

ATOMS = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\xff-]+"
QUOTED = rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*"'
LABEL = rb"[A-Za-z0-9_\x80-\xff](?:[A-Za-z0-9_\x80-\xff-]*[A-Za-z0-9_\x80-\xff])?"
DOMAIN = rb"%b(?:\.%b)*" % (LABEL, LABEL)
LITERAL = rb"\[[A-Za-z0-9:.]*\]"
ROUTE = rb"@%b(?:,@%b)*:" % (DOMAIN, DOMAIN)
MAILBOX = rb"(?P<local>%b|%b)(?:@(?P<domain>%b|%b))?" % (ATOMS, QUOTED, DOMAIN, LITERAL)
BRACKETED = re.compile(rb"<(?P<route>%b)?%b>" % (ROUTE, MAILBOX), re.DOTALL)
PLAIN = re.compile(rb"(?P<route>(?!))?%b" % MAILBOX, re.DOTALL)
PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")

VERBS = (
    b"HELO EHLO LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN HELP QUIT STARTTLS AUTH"
    b" XCLIENT"
).split()


class Path(NamedTuple):
    mailbox: bytes
    local: bytes
    domain: bytes
    bracketed: bool
    routed: bool


class Command(NamedTuple):
    verb: str
    argument: bytes
    host: bytes = b""
    path: Path | None = None
    parameters: tuple[tuple[bytes, bytes | None], ...] = ()


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_domain(domain: bytes) -> bool:
    """Lengths of labels, and whether a literal is an address."""
    if not domain.startswith(b"["):
        labels = domain.split(b".")
        return all(len(label) <= 63 or not label.isascii() for label in labels)
    inside = domain[1:-1].decode()
    try:
        if inside[:5].lower() == "ipv6:":
            IPv6Address(inside[5:])
        else:
            IPv4Address(inside)
    except AddressValueError:
        return False
    return True


def read_path(text: bytes) -> tuple[Path, bytes] | None:
    """The path at the beginning of text and what follows it; None: there is none."""
    if text.startswith(b"<>"):
        null = Path(b"", b"", b"", True, False)
        return (null, text[2:]) if text[2:3] in (b"", b" ", b"\t") else None
    bracketed = text.startswith(b"<")
    found = (BRACKETED if bracketed else PLAIN).match(text)
    if found is None:
        return None
    route, local, domain = found.group("route", "local", "domain")
    path = Path(
        local + (b"@" + domain if domain else b""),
        local,
        domain or b"",
        bracketed,
        route is not None,
    )
    rest = text[found.end() :]
    whole = len(found.group()) + (0 if bracketed else 2)
    hosts = re.findall(DOMAIN, route or b"")
    good = (
        (not rest or rest[:1] in (b" ", b"\t"))
        and (domain or local.lower() == b"postmaster")
        and all(map(is_domain, [*hosts, *([domain] if domain else [])]))
        and max(map(len, [*hosts, path.domain])) <= 255
        and len(local) <= 64
        and whole <= 256
        and is_utf8(path.mailbox)
    )
    return (path, rest) if good else None


def parse(line: bytes) -> Command | None:
    """A whole line; None when it is at fault."""
    text = line[:-2].rstrip(b" \t")
    word = re.split(rb"[ \t]", text, maxsplit=1)[0]
    argument = text[len(word) :].lstrip(b" \t")
    if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", text):
        return None
    verb = word.upper() if word.upper() in VERBS else b""
    if verb in (b"MAIL", b"RCPT"):
        return read_transaction(verb, argument)
    if verb in (b"HELO", b"EHLO", b"LHLO"):
        host = re.split(rb"[ \t]", argument, maxsplit=1)[0]
        if not 0 < len(host) <= 255 or not is_utf8(host):
            return None
        return Command(verb.decode(), argument, host)
    return Command(verb.decode(), argument)


def read_transaction(verb: bytes, argument: bytes) -> Command | None:
    """`FROM:path parameters` or `TO:path parameters`."""
    keyword = b"FROM:" if verb == b"MAIL" else b"TO:"
    if argument[: len(keyword)].upper() != keyword:
        return None
    read = read_path(argument[len(keyword) :].lstrip(b" \t"))
    if read is None:
        return None
    words = re.split(rb"[ \t]+", read[1].strip(b" \t"))
    parameters = [PARAMETER.fullmatch(word) for word in words if word]
    if not all(parameters):
        return None
    pairs = tuple(p.group(1, 2) for p in parameters if p is not None)
    return Command(verb.decode(), argument, b"", read[0], pairs)


def find_line(data: bytes, limit: int) -> tuple[str, int]:
    """As `fastsmtp.wire.command.find_line`."""
    at = data[:limit].find(b"\n")
    if at < 0:
        return ("more" if len(data) < limit else "long"), 0
    return ("whole" if data[at - 1 : at] == b"\r" else "bare_lf"), at + 1
