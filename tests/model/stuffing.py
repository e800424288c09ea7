"""What `ext/stuffing.pxd` does, octet by octet: the specification people read."""


def stuffed(body: bytes) -> bytes | None:
    """The body as DATA sends it, with its end; None: it may not be sent at all."""
    out = bytearray()
    line_begins = True
    before = 0
    for octet in body:
        if octet == 0 or (octet == 10) != (before == 13):
            return None
        if line_begins and octet == 0x2E:
            out += b"."
        out.append(octet)
        line_begins = octet == 10
        before = octet
    if before == 13:
        return None
    return bytes(out) + (b".\r\n" if line_begins else b"\r\n.\r\n")
