"""A name server of our own, on a port of loopback: unbound, from Debian's package.

    zone = {"a.test": ["MX 10 mx.a.test."], "mx.a.test": ["A 127.0.0.9"]}
    with private_dns(zone) as address:      # for [dns] servers
        ...

The zone is everything there is: a name that is not in it does not exist, and nothing
is asked of anybody else. A value may be "REFUSED" or "SILENT" instead of records.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from fastsmtp_bench import peers
from fastsmtp_bench.served import free_port

START_SECONDS = 10.0
ACTIONS = {"REFUSED": "always_refuse", "SILENT": "always_deny"}
CONFIGURATION = """\
server:
  interface: 127.0.0.1@{port}
  port: {port}
  access-control: 127.0.0.0/8 allow
  username: ""
  chroot: ""
  directory: "{home}"
  pidfile: ""
  use-syslog: no
  logfile: ""
  do-daemonize: no
  module-config: "iterator"
  do-not-query-localhost: no
  root-hints: ""
  local-zone: "." static
{lines}
remote-control:
  control-enable: no
"""
Zone = Mapping[str, Sequence[str] | str]


def lines(zone: Zone) -> Iterator[str]:
    for name, records in zone.items():
        if isinstance(records, str):
            yield f'  local-zone: "{name}." {ACTIONS[records]}'
        else:
            for record in records:
                yield f"  local-data: '{name}. 60 IN {record}'"


@contextmanager
def private_dns(zone: Zone) -> Iterator[str]:
    """Its address, "127.0.0.1:port". Raises `peers.Unavailable`."""
    binary, environment = peers.unbound()
    port = free_port()
    with TemporaryDirectory() as home:
        file = Path(home, "unbound.conf")
        text = CONFIGURATION.format(port=port, home=home, lines="\n".join(lines(zone)))
        file.write_text(text)
        server = subprocess.Popen(
            [str(binary), "-d", "-c", str(file)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            _until_it_answers(server, port)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


def _until_it_answers(server: subprocess.Popen[bytes], port: int) -> None:
    query = struct.pack(">6H", os.getpid() & 0xFFFF, 0x0100, 1, 0, 0, 0)
    query += b"\x05ready\x00\x00\x01\x00\x01"
    end = monotonic() + START_SECONDS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.1)
        sock.connect(("127.0.0.1", port))
        while True:
            try:
                sock.send(query)
                sock.recv(512)
                return
            except OSError:
                over = server.poll() is not None or monotonic() > end
                if over:
                    server.kill()
                    said = server.stdout.read() if server.stdout else b""
                    raise AssertionError(said.decode(errors="replace")) from None
