"""An aiosmtpd that does what the recipient's name says; a program of its own.

    PYTHONPATH=… python misbehaving.py          prints its port

    rcpt-450@…   that reply to RCPT           data-421@…   that reply to the message
    rcpt-hang@…  no answer to RCPT any more   data-hang@…  none to the message
    data-close@… the connection is closed instead of an answer
Anybody else gets mail.
"""

import asyncio
from typing import Any

from aiosmtpd.smtp import SMTP

REPLIES = {
    "421": "421 4.3.2 Service not available",
    "450": "450 4.2.1 Mailbox busy",
    "550": "550 5.1.1 No such user",
    "554": "554 5.6.0 Message not wanted",
}


class Handler:
    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return await answer(server, "rcpt", address) or "250 2.1.5 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return await answer(server, "data", envelope.rcpt_tos[-1]) or "250 2.0.0 OK"


async def answer(server: Any, stage: str, address: str) -> str:
    """What the name wants at this stage, or ""."""
    when, _, what = address.partition("@")[0].partition("-")
    if when != stage:
        return ""
    if what == "hang":
        await asyncio.Event().wait()
    if what == "close":
        server.transport.abort()
        await asyncio.Event().wait()
    return REPLIES[what]


async def main() -> None:
    def made() -> SMTP:
        return SMTP(Handler(), hostname="aiosmtpd.example", timeout=3600)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(made, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
