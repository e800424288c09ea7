"""An Exim of our own: its configuration, spool and logs are in one folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from fastsmtp_bench import peers
from fastsmtp_bench.native import preloaded

CONFIGURATION = """\
exim_path = {binary}
exim_user = mail
exim_group = mail
keep_environment = LD_LIBRARY_PATH : LD_PRELOAD
spool_directory = {home}/spool
log_file_path = {home}/%slog
log_selector = +smtp_confirmation
primary_hostname = exim.example
never_users =
trusted_users = mail

begin routers
there:
  driver = manualroute
  route_list = * 127.0.0.1::{port}
  self = send
  transport = out

begin transports
out:
  driver = smtp
  hosts_require_tls = *
  tls_verify_hosts =
  tls_try_verify_hosts =

begin retry
* * F,1m,1s
"""


class Exim:
    """Sends what `submit` is given to `port`. Raises `peers.Unavailable`."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        original, self._environment = peers.exim()
        self._binary = home / "exim"
        # not setuid: such a program does not look into LD_LIBRARY_PATH
        shutil.copyfile(original, self._binary)
        self._binary.chmod(0o755)
        self._environment["LD_PRELOAD"] = str(preloaded("names"))
        self._configuration = home / "exim.conf"
        text = CONFIGURATION.format(home=home, binary=self._binary, port=port)
        self._configuration.write_text(text)
        for folder in (home, home / "spool"):
            folder.mkdir(exist_ok=True)
            shutil.chown(folder, "mail", "mail")
        try:
            self._run("-bV")
        except AssertionError as error:  # a library of another release
            raise peers.Unavailable(str(error)) from None

    def submit(self, sender: str, recipient: str, text: bytes) -> None:
        """Lines of `text` end with LF. Returns when Exim has it in its spool."""
        self._run("-odq", "-i", "-f", sender, recipient, given=text)

    def send(self) -> None:
        """Returns when every message in the spool was tried, those for one host over
        one connection."""
        self._run("-qqff")

    def left(self) -> int:
        """How many messages are in the spool."""
        return int(self._run("-bpc"))

    def log(self) -> str:
        files = [self.home / f"{name}log" for name in ("main", "panic", "reject")]
        return "".join(f.read_text(errors="replace") for f in files if f.exists())

    def _run(self, *words: str, given: bytes = b"") -> bytes:
        done = subprocess.run(
            [str(self._binary), "-C", str(self._configuration), *words],
            input=given,
            env=self._environment,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace") + self.log()
        return done.stdout
