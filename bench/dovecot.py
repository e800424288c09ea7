"""Dovecot's POP3 server, with a configuration of its own, from Debian's packages.

They are unpacked into a cache directory; nothing is installed."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from typing import Literal

from fastsmtp_bench.peers import Unavailable, unpacked
from fastsmtp_bench.process import comes, stop
from fastsmtp_bench.served import free_port

PACKAGES = ["dovecot-core", "dovecot-pop3d", "libexttextcat-2.0-0", "libstemmer0d"]
PACKAGES += ["libicu72", "liblua5.3-0", "libsodium23", "libunwind8"]
LIBRARIES = ["usr/lib/dovecot", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
USER = "mail"  # whom the mail belongs to; Dovecot refuses root
START_SECONDS = 10.0
PORTS = 3  # that are tried
CONFIGURATION = """\
protocols = pop3
listen = 127.0.0.1
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
ssl = no
disable_plaintext_auth = no
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = daemon
libexec_dir = {root}/usr/lib/dovecot
mail_plugin_dir = {root}/usr/lib/dovecot/modules
import_environment = LD_LIBRARY_PATH={libraries}
mail_location = {location}
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 5000
default_process_limit = 2000
default_client_limit = 4000
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/%n
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service pop3 {{
  process_limit = 2000
}}
service stats {{
  chroot =
}}
service anvil {{
  chroot =
}}
"""


@dataclass(frozen=True, slots=True)
class Dovecot:
    port: int
    pid: int


@contextmanager
def dovecot(
    home: Path, kind: Literal["mdbox", "maildir"], mail: Path, password: str
) -> Iterator[Dovecot]:
    """Serves the mail of `user`, taken over from a Maildir."""
    root = unpacked("usr/sbin/dovecot", "dovecot/root", PACKAGES)
    user = pwd.getpwnam(USER)
    home.mkdir(parents=True)
    for folder in (home, *home.parents):  # down to us for whom the mail belongs to
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    (home / "user").mkdir()
    source = shutil.copytree(mail, home / "source")
    for folder, _, files in os.walk(home):  # it writes beside what it reads
        for path in (folder, *(f"{folder}/{name}" for name in files)):
            if not os.path.samefile(path, home):
                os.chown(path, user.pw_uid, user.pw_gid)
    libraries = ":".join(str(root / library) for library in LIBRARIES)
    environment = dict(os.environ, LD_LIBRARY_PATH=libraries)
    file = home / "dovecot.conf"

    def start() -> tuple[int, "subprocess.Popen[bytes]"]:
        port = free_port()
        file.write_text(
            CONFIGURATION.format(
                home=home,
                root=root,
                libraries=libraries,
                location=f"{kind}:~/{kind}",
                uid=user.pw_uid,
                gid=user.pw_gid,
                password=password,
                port=port,
            )
        )
        words = [root / "usr/sbin/dovecot", "-F", "-c", file]
        return port, subprocess.Popen(words, env=environment, start_new_session=True)

    port, server = started(start, home / "log")
    try:
        words = ["import", "-u", "user", f"maildir:{source}", "", "all"]
        subprocess.run(
            [root / "usr/bin/doveadm", "-c", file, *words],
            env=environment,
            check=True,
        )
        yield Dovecot(port, server.pid)
    finally:
        stop(server, group=True)


def started(
    start: Callable[[], tuple[int, "subprocess.Popen[bytes]"]], log: Path
) -> tuple[int, "subprocess.Popen[bytes]"]:
    """One that greets. Somebody may take a free port before it does: then another one.
    Raises Unavailable."""
    for _ in range(PORTS):
        port, server = start()
        try:
            if answers(server, port):
                return port, server
        except BaseException:
            stop(server, group=True)
            raise
        stop(server, group=True)
        said = log.read_text(errors="replace") if log.exists() else ""
        if "Address already in use" not in said:
            break
        log.unlink()
    raise Unavailable(f"dovecot does not answer: {said.strip()[-400:]}")


def answers(server: "subprocess.Popen[bytes]", port: int) -> bool:
    """Whether it greets before it ends and in time."""

    def greets() -> bool:
        with suppress(OSError), create_connection(("127.0.0.1", port), timeout=1) as c:
            return c.recv(512).startswith(b"+OK")
        return False

    return comes(greets, START_SECONDS, lambda: server.poll() is not None)
