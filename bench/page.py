"""fastsmtp-bench page: measures everything and writes the table of docs/performance.md.

Wants a quiet machine and some ten minutes. The page keeps its words; what stands
between its two marks is replaced.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from fastsmtp_bench import arguments, disk, machine, memory, peers, side_by_side, tls

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- figures: fastsmtp-bench page -->", "<!-- end of figures -->"


def place(page: str, figures: str) -> str:
    """The page with these figures between its marks. Raises ValueError without them."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{figures.strip()}\n\n{END}{after}"


def sections(options: argparse.Namespace) -> list[str]:
    """One piece of markdown for each measurement, in the order of the page."""
    directory = str(options.directory)
    found = [
        f"{machine.processor()}; {machine.file_system(options.directory)}; "
        f"{machine.versions()}; smtp-sink of postfix {peers.version()}.",
        "### Disk\n\n" + _disk(options.directory),
    ]
    for mode in options.modes:
        for client in ("smtp-source", "load"):
            words = ["--client", client, "--mode", mode, "--directory", directory]
            words += ["--rounds", str(options.rounds), "--scale", str(options.scale)]
            found.append(f"### Beside smtp-sink: mode {mode}, client {client}")
            found.append(side_by_side.measure(words))
        figures = memory.measure(options.directory, mode, options.rounds, 1000)
        found.append(f"### Memory and many mailboxes: mode {mode}")
        found.append(memory.markdown(figures))
        found.append(f"### TLS: mode {mode}")
        found.append(tls.measure(options.directory, mode, options.rounds, tls.IDLE))
    return found


def _disk(directory: Path) -> str:
    with tempfile.TemporaryDirectory(dir=directory) as place:
        return disk.table(disk.measure(Path(place)))


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("page", __doc__)
    add = parser.add_argument
    add("--modes", nargs="+", choices=["one", "split"], default=["one", "split"])
    add("--print", action="store_true", help="print, and leave the page as it is")
    arguments.measured(parser, rounds=3, scale=1.0)
    options = parser.parse_args(words)
    figures = "\n\n".join(sections(options))
    if options.print:
        sys.stdout.write(figures + "\n")
        return
    PAGE.write_text(place(PAGE.read_text(), figures))
