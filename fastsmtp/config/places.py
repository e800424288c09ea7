"""Where in a TOML text each key stands, so that a mistake can be shown with its line.

`tomllib` has accepted the text before; this reader only follows its structure and is
never asked whether it is valid.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

Key = tuple[str | int, ...]
"""The path to a value: table and key names, and indexes inside arrays."""


class Place(NamedTuple):
    """Line and column, both from 1."""

    line: int
    column: int


_SPACE: Final = re.compile(r"[ \t]*")
_GAP: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE: Final = re.compile(r"[^,\]}\n#]*")
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(["\\bfnrt]))')
_ESCAPED: Final = {'"': '"', "\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r"}


def places(text: str) -> dict[Key, Place]:
    """The place of every key, table and array element of a valid TOML text."""
    return _Scan(text).run()


class _Scan:
    """One walk over the text; `at` only grows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.line_start = 0
        self.counted = 0
        self.found: dict[Key, Place] = {}
        self.arrays: dict[Key, int] = {}

    def run(self) -> dict[Key, Place]:
        table: Key = ()
        self.skip(_GAP)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_GAP)
        return self.found

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not TOML at octet {self.at}")
        self.at = match.end()
        return match.group()

    def here(self) -> Place:
        self.line += self.text.count("\n", self.counted, self.at)
        self.line_start = self.text.rfind("\n", 0, self.at) + 1
        self.counted = self.at
        return Place(self.line, self.at - self.line_start + 1)

    def header(self) -> Key:
        """`[a.b]` or `[[a.b]]`; the keys of an array of tables carry its index."""
        place = self.here()
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        table = self.resolve(tuple(self.keys()))
        self.at += 2 if many else 1
        for length in range(1, len(table)):  # [a.b] makes a, where it is not there yet
            self.found.setdefault(table[:length], place)
        if many:
            index = self.arrays[table] = self.arrays.get(table, -1) + 1
            self.found.setdefault(table, place)
            table = (*table, index)
        self.found.setdefault(table, place)
        return table

    def resolve(self, names: Key) -> Key:
        """Inside an array of tables a name means its last element so far."""
        path: Key = ()
        for name in names[:-1]:
            path = (*path, name)
            if path in self.arrays:
                path = (*path, self.arrays[path])
        return (*path, *names[-1:])

    def keys(self) -> Iterator[str]:
        """The parts of a dotted key, with the space around them."""
        while True:
            self.skip(_SPACE)
            if self.text[self.at] in "\"'":
                yield _unquote(self.skip(_STRING))
            else:
                yield self.skip(_BARE_KEY)
            self.skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return
            self.at += 1

    def pair(self, table: Key) -> None:
        place = self.here()
        path = table
        for name in self.keys():
            path = (*path, name)
            self.found.setdefault(path, place)
        self.at += 1  # "="
        self.skip(_SPACE)
        self.value(path)

    def value(self, path: Key) -> None:
        first = self.text[self.at]
        if first in "\"'":
            self.skip(_STRING)
        elif first == "[":
            self.array(path)
        elif first == "{":
            self.inline_table(path)
        else:
            self.skip(_BARE_VALUE)

    def array(self, path: Key) -> None:
        self.at += 1
        self.skip(_GAP)
        index = 0
        while self.text[self.at] != "]":
            self.found[(*path, index)] = self.here()
            self.value((*path, index))
            self.comma()
            index += 1
        self.at += 1

    def inline_table(self, path: Key) -> None:
        self.at += 1
        self.skip(_GAP)
        while self.text[self.at] != "}":
            self.pair(path)
            self.comma()
        self.at += 1

    def comma(self) -> None:
        self.skip(_GAP)
        if self.text[self.at] == ",":
            self.at += 1
        self.skip(_GAP)


def _unquote(quoted: str) -> str:
    """A key in quotes as the text it means."""
    if quoted[0] == "'":
        return quoted[1:-1]

    def plain(match: re.Match[str]) -> str:
        short, long, letter = match.groups()
        if letter:
            return "\t" if letter == "t" else _ESCAPED[letter]
        return chr(int(short or long, 16))

    return _ESCAPE.sub(plain, quoted[1:-1])
