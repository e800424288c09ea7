"""What policy asks of the DNS; `fastsmtp.net.dns` answers, tests do from a dict."""

from typing import Any, Protocol


class Resolver(Protocol):
    async def ask(self, kind: str, name: str) -> tuple[Any, ...]:
        """The records of a kind: "A" and "AAAA" as addresses in text, "PTR" as names in
        lower case, "TXT" as octets (the strings of a record joined), "MX" as
        `(preference, name)`, best first.

        Raises `NoSuchName`, `NoData` or `DnsTrouble`."""
        ...
