"""Where settings come from: one TOML file, and the environment over it."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fastsmtp.config.kinds import key as key_text
from fastsmtp.config.places import Key, Place, places
from fastsmtp.config.problem import ConfigErrors, Problem

PREFIX: Final = "FASTSMTP_"

_ADVICE: Final = (
    ("Invalid value", 'text stands in quotes: name = "value"'),
    ("Cannot overwrite", "this key is set twice; keep one of the two"),
    ("Cannot declare", "this table stands twice; join the two"),
    ("Illegal character", "a line ended inside quotes; close them on the same line"),
    ("Expected newline or end", "one setting a line; text stands in quotes"),
    (
        "Expected '='",
        'a line reads: name = "value"; a name with dots or @ needs quotes',
    ),
    ("Unclosed", "a list or table is not closed"),
)


@dataclass(slots=True)
class Source:
    """What was read, before it is understood.

    file    as it is shown in messages
    base    where relative paths start
    tree    the TOML document
    places  the line of each key
    texts   settings from the environment: lower-cased dotted parts -> (text, variable)
    """

    file: str
    base: Path
    tree: dict[str, Any]
    places: Mapping[Key, Place]
    texts: dict[str, tuple[str, str]] = field(default_factory=dict)

    def place(self, key: Key) -> Place:
        """Of the key itself, else of the nearest table around it."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, Place(1, 1))

    def problem(self, path: Key, text: str, value: str = "", **rest: Any) -> Problem:
        """With a setting of this source, at its place; `rest` as in `Problem`."""
        place = self.place(path)
        return Problem(
            source=self.file,
            key=dotted(path),
            line=place.line,
            column=place.column,
            value=value,
            text=text,
            **rest,
        )


def dotted(path: Key) -> str:
    """("domains", "a.b", "aliases", 0) as domains."a.b".aliases[0]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + key_text(part)
    return text


def read_source(path: Path, environ: Mapping[str, str]) -> Source:
    """Raises `ConfigErrors` when the file cannot be read or is not TOML."""
    shown = str(path)
    try:
        text = path.read_bytes().decode().replace("\r\n", "\n")
        tree = tomllib.loads(text)
    except OSError as error:
        raise ConfigErrors([_unreadable(shown, error)]) from None
    except UnicodeDecodeError as error:
        raise ConfigErrors([_not_utf8(shown, error)]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors([_not_toml(shown, str(error), text)]) from None
    base = path.absolute().parent
    return Source(shown, base, tree, places(text), _from_environment(environ))


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """FASTSMTP_SMTP__LISTEN is smtp.listen; case does not count."""
    return {
        name.removeprefix(PREFIX).lower().replace("__", "."): (environ[name], name)
        for name in sorted(environ)
        if name.startswith(PREFIX)
    }


def _unreadable(shown: str, error: OSError) -> Problem:
    inside = os.path.join(shown, "fastsmtp.toml")
    advice = {
        FileNotFoundError: "`fastsmtp quickstart DIR --domain D` writes one",
        PermissionError: "run as the owner of the file, or as root",
        IsADirectoryError: f"name the file in it: {inside}",
    }.get(type(error), "")
    text = f"cannot be read: {error.strerror}"
    return Problem(source=shown, key="file", text=text, advice=advice)


def _not_utf8(shown: str, error: UnicodeDecodeError) -> Problem:
    before = error.object[: error.start]
    column = error.start - (before.rfind(b"\n") + 1) + 1
    return Problem(
        source=shown,
        key="file",
        line=before.count(b"\n") + 1,
        column=column,
        text=f"octet 0x{error.object[error.start]:02x} is not UTF-8",
        advice="save the file as UTF-8",
    )


def _not_toml(shown: str, message: str, text: str) -> Problem:
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)", message)
    line, column = text.count("\n") + 1, 1
    if found and found[1]:
        line, column = int(found[1]), int(found[2])
    reason = message[: found.start()] if found else message
    advice = next((words for start, words in _ADVICE if reason.startswith(start)), "")
    return Problem(
        source=shown,
        key="syntax",
        line=line,
        column=column,
        text=f"not TOML: {reason[:1].lower()}{reason[1:]}",
        value="",
        advice=advice,
    )
