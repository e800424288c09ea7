"""A Postfix of our own: its configuration, queue and processes are in one folder."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from pwd import getpwnam

from fastsmtp_bench import peers

# Users of every Debian: the owner of the queue must be nobody else's (postconf(5)).
OWNER, GROUP, NOBODY = "list", "uucp", "nobody"
MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = {commands}
daemon_directory = {daemons}
shlib_directory = {libraries}
mail_owner = {owner}
setgid_group = {group}
default_privs = {nobody}
import_environment = MAIL_CONFIG TZ LANG=C LD_LIBRARY_PATH
export_environment = TZ MAIL_CONFIG LANG LD_LIBRARY_PATH
maillog_file = {home}/log
maillog_file_prefixes = {home}
myhostname = postfix.example
mydestination =
inet_interfaces = loopback-only
alias_maps =
alias_database =
local_recipient_maps =
{more}
"""
# service type private unpriv chroot wakeup maxproc command
MASTER = """\
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - 3 smtp
lmtp unix - - n - 3 lmtp
error unix - - n - - error
retry unix - - n - - error
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
{more}
"""
QUEUES = "active bounce corrupt defer deferred flush hold incoming saved trace private"


class Postfix:
    """Raises `peers.Unavailable` when there is none.

    home    exists and is empty; the users of Postfix may enter it
    main    more lines for main.cf
    master  more lines for master.cf
    """

    def __init__(self, home: Path, main: str, master: str = "") -> None:
        self.home = home
        postdrop, self._environment = peers.tool("postdrop")
        self._libraries = postdrop.parents[1] / "lib/postfix"
        self._daemons = self._libraries / "sbin"
        self._commands = home / "bin"
        self._commands.mkdir()
        for name in ("postdrop", "sendmail"):
            # not setgid: such a program does not look into LD_LIBRARY_PATH
            shutil.copyfile(postdrop.with_name(name), self._commands / name)
            (self._commands / name).chmod(0o755)
        self._configure(main, master)
        self._make_queue()

    @property
    def pid(self) -> int:
        """Of the master, whose children the others are."""
        return self._master.pid

    def _configure(self, main: str, master: str) -> None:
        folder = self.home / "etc"
        folder.mkdir(parents=True)
        text = MAIN.format(
            home=self.home,
            commands=self._commands,
            daemons=self._daemons,
            libraries=self._libraries,
            owner=OWNER,
            group=GROUP,
            nobody=NOBODY,
            more=main,
        )
        (folder / "main.cf").write_text(text)
        (folder / "master.cf").write_text(MASTER.format(more=master))
        self._environment["MAIL_CONFIG"] = str(folder)

    def _make_queue(self) -> None:
        """As post-install(1) makes it."""
        queue = self.home / "queue"
        queue.mkdir()
        (queue / "pid").mkdir()
        for name in QUEUES.split():
            (queue / name).mkdir(mode=0o700)
            shutil.chown(queue / name, OWNER)
        for name, mode in (("public", 0o2710), ("maildrop", 0o1730)):
            (queue / name).mkdir()
            shutil.chown(queue / name, OWNER, GROUP)
            (queue / name).chmod(mode)
        (self.home / "data").mkdir(mode=0o700)
        shutil.chown(self.home / "data", OWNER)

    def start(self) -> None:
        words = [str(self._daemons / "master"), "-d", "-c", str(self.home / "etc")]
        with (self.home / "said").open("wb") as said:
            self._master = subprocess.Popen(
                words,
                stdout=said,
                stderr=said,
                env=self._environment,
                start_new_session=True,
            )
        until(self._takes_mail, 20, "postfix takes mail")

    def _takes_mail(self) -> bool:
        assert self._master.poll() is None, self.log()
        return (self.home / "queue/public/pickup").exists()

    def log(self) -> str:
        files = [self.home / name for name in ("said", "log")]
        return "".join(f.read_text(errors="replace") for f in files if f.exists())

    def submit(self, sender: str, recipient: str, text: bytes) -> None:
        """Lines of `text` end with LF. Returns when it is in Postfix's queue."""
        words = [str(self._commands / "sendmail"), "-i", "-f", sender, recipient]
        subprocess.run(words, input=text, env=self._environment, check=True, timeout=60)

    def stop(self) -> None:
        """Returns when its daemons have ended too; those that do not are killed."""
        self._master.terminate()
        try:
            self._master.wait(20)
            until(self._gone, 20, "the daemons of postfix end")
        except (TimeoutError, subprocess.TimeoutExpired):
            os.killpg(self._master.pid, signal.SIGKILL)
            self._master.wait()
            raise

    def _gone(self) -> bool:
        try:
            os.killpg(self._master.pid, 0)
        except ProcessLookupError:
            return True
        return False


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits for what other processes do. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.005)


def usable() -> str | None:
    """Why Postfix cannot be started here, or None."""
    if os.getuid():
        return "Postfix is started by root"
    try:
        for name in (OWNER, NOBODY):
            getpwnam(name)
    except KeyError as missing:
        return f"needs a user of Debian: {missing}"
    return None
