"""Whom a client believes over TLS: its contexts."""

import ssl


def context(checked: bool, ca_file: str = "") -> ssl.SSLContext:
    """
    checked  the certificate must be for the name that is called, from an authority in
             `ca_file` (PEM), or of the system where that is ""; else anybody's will do:
             it keeps out who only listens (RFC 7435)

    Raises `OSError` when the file cannot be read, or holds no certificate.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not checked:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif ca_file:
        made.load_verify_locations(ca_file)
    else:
        made.load_default_certs()
    return made
