"""OpenSMTPD from Debian's package, unpacked, in a view of the file system of its own.

It has its users, its queue and its programs where it was compiled for. `unshare` gives
it a mount namespace in which those places are folders of ours; nobody else sees that,
and it is gone when the last of its processes is. Needs root.

Three of its ways have nothing to do with what it costs, and are set aside: an accept
queue of 5 (preload/backlog.c), 100 messages a session, and a DNS query for each client.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from fastsmtp_bench.native import preloaded
from fastsmtp_bench.peers import Unavailable, unpacked

PACKAGES: Final = ["opensmtpd", "libdb5.3", "libevent-2.1-7"]
LIBRARIES: Final = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
USERS: Final = {"opensmtpd": 65001, "opensmtpq": 65002}
OWNER: Final = "mail"  # of what it delivers
CONFIGURATION: Final = """\
smtp limit max-mails 1000000
listen on 127.0.0.1 port {port}
action "box" maildir "{home}/mail/box" virtual {{ "@" = "{owner}" }}
match from any for any action "box"
"""
RESOLVER: Final = "lookup file\n"
"""It greets nobody before it knows the name of the address, and asks the DNS before
/etc/hosts: where no name server answers, two hundred clients wait for many seconds."""
VIEW: Final = """\
set -e
for place in var/spool var/lib run etc/passwd etc/group etc/resolv.conf; do
    mount --bind "$1/root/$place" "/$place"
done
mkdir -p /usr/libexec
mount --bind "$2/usr/libexec" /usr/libexec
exec "$2/usr/sbin/smtpd" -d -f "$1/smtpd.conf"
"""


def prepare(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Fills its folder; the command that serves in the foreground, and what it needs
    in its environment. Raises Unavailable."""
    if os.geteuid() or not shutil.which("unshare"):
        raise Unavailable("it wants root and unshare")
    package = unpacked("usr/sbin/smtpd", "opensmtpd/root", PACKAGES)
    own = home / "root"
    for folder in ("var/spool/smtpd", "var/lib/opensmtpd/empty", "run", "etc"):
        (own / folder).mkdir(parents=True)
    (own / "var/spool/smtpd").chmod(0o711)
    for name, line in (
        ("passwd", "{0}:x:{1}:{1}::/:/bin/false"),
        ("group", "{0}:x:{1}:"),
    ):
        more = "".join(line.format(who, id) + "\n" for who, id in USERS.items())
        (own / "etc" / name).write_text(Path("/etc", name).read_text() + more)
    (own / "etc/resolv.conf").write_text(RESOLVER)
    (home / "mail").mkdir()
    shutil.chown(home / "mail", OWNER)
    text = CONFIGURATION.format(port=port, home=home, owner=OWNER)
    (home / "smtpd.conf").write_text(text)
    libraries = ":".join(str(package / library) for library in LIBRARIES)
    words = ["unshare", "--mount", "sh", "-c", VIEW, "sh", str(home), str(package)]
    return words, {
        **os.environ,
        "LD_LIBRARY_PATH": libraries,
        "LD_PRELOAD": str(preloaded("backlog")),
    }


def queued(home: Path) -> bool:
    """Whether something is still to be delivered."""
    queue = home / "root/var/spool/smtpd/queue"
    return any(files for _, _, files in os.walk(queue))
