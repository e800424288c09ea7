"""python -m fastsmtp_bench.tls_peer CERT KEY: the least server over uvloop's own TLS.

Greets, answers every line, and prints its port first.
"""

import asyncio
import ssl
import sys

import uvloop


class Peer(asyncio.BufferedProtocol):
    """All connections read into one buffer, as fastsmtp's do."""

    shared = bytearray(256 * 1024)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(b"220 peer\r\n")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.shared

    def buffer_updated(self, nbytes: int) -> None:
        lines = self.shared.count(b"\n", 0, nbytes)
        self.transport.write(b"250 Ok\r\n" * lines)


async def serve(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Peer, "127.0.0.1", 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:3]))
