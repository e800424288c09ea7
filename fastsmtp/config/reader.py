"""From a source to a `Config`: every value decoded, every mistake collected."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from fastsmtp.config.kinds import (
    Fault,
    Setting,
    Wrong,
    allowed,
    read,
    read_text,
    toml,
)
from fastsmtp.config.model import Config
from fastsmtp.config.places import Key
from fastsmtp.config.problem import Problem
from fastsmtp.config.source import PREFIX, Source, dotted
from fastsmtp.config.words import destination_fault, name_fault
from fastsmtp.options import PATH

SHOWN: Final = 60  # characters of a value in a message
ABSENT: Final = object()
STAND_INS: Final = {"hostname": "mx.invalid", "data": Path("data"), "domains": {}}


class Reader:
    """Reads one source. Laws: `problems` only grows; a value that cannot be read is
    reported once and stands at its default, so that the rest is checked too."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.used: set[str] = set()

    def config(self) -> Config:
        """Of use only when no problem is an error; until then a stand-in takes the
        place of what is missing, so that the rest can be checked."""
        values = self.table(Config, self.source.tree, ())
        values = {**STAND_INS, **values}
        for name in ("data", "run"):
            if name in values:
                values[name] = self.source.base / values[name]
        place = self.source.base.joinpath
        if "hooks" in values:
            values["hooks"] = {n: h.moved(place) for n, h in values["hooks"].items()}
        if "tls" in values:
            values["tls"] = values["tls"].moved(place)
        if "metrics" in values:
            values["metrics"] = values["metrics"].moved(place)
        for name, each in values.get("relay_domains", {}).items():
            values["relay_domains"][name] = each.moved(lambda path: str(place(path)))
        for number, each in enumerate(values.get("relay", ())):
            values["relay"][number] = each.moved(lambda path: str(place(path)))
        return Config(**values)

    def table(self, cls: type, raw: Mapping[str, Any], path: Key) -> dict[str, Any]:
        """The fields of `cls` that `raw` or the environment sets."""
        hints = get_type_hints(cls)
        known = {field.name: field for field in fields(cls)}
        for name in raw:
            if name not in known:
                self.unknown(name, tuple(known), (*path, name), raw[name])
        values = {}
        for name, field in known.items():
            value = self.field(field, hints[name], raw.get(name, ABSENT), (*path, name))
            if value is not ABSENT:
                values[name] = value
        return values

    def field(self, field: Field[Any], hint: Any, raw: Any, path: Key) -> Any:
        if isinstance(hint, type) and is_dataclass(hint):
            return hint(**self.table(hint, self.mapping(raw, path), path))
        if get_origin(hint) is dict and is_dataclass(get_args(hint)[1]):
            return self.named(get_args(hint)[1], raw, path)
        if (
            get_origin(hint) is list
            and is_dataclass(get_args(hint)[0])
            and not (field.metadata)
        ):
            return self.rows(get_args(hint)[0], raw, path)
        setting = Setting(field.metadata["kind"], hint, field.metadata)
        value = self.setting(setting, raw, path)
        needed = field.default is MISSING and field.default_factory is MISSING
        if value is ABSENT and needed and not self.reported(path):
            self.missing(path, setting)
        return value

    def reported(self, path: Key) -> bool:
        return any(problem.key == dotted(path) for problem in self.problems)

    def mapping(self, raw: Any, path: Key) -> Mapping[str, Any]:
        if raw is ABSENT:
            return {}
        if isinstance(raw, dict):
            return raw
        fault = Fault("is a table, not a value", advice=f"write [{dotted(path)}]")
        self.wrong(path, raw, fault)
        return {}

    def named(self, cls: Any, raw: Any, path: Key) -> Any:
        """`[domains."x"]`, `[hooks.x]`: a table per name. Names are lower-cased."""
        found: dict[str, Any] = {}
        name_fault, such_as, needed = NAMES[str(path[0])]
        for name, inner in self.mapping(raw, path).items():
            here = (*path, name)
            if fault := name_fault(name):
                self.wrong(here, ABSENT, Fault(fault), such_as)
            elif name.lower() in found:
                self.wrong(here, ABSENT, Fault("stands twice; case does not count"))
            else:
                values = self.table(cls, self.mapping(inner, here), here)
                if self.whole(cls, values):
                    found[name.lower()] = cls(**values)
        for name in self.named_in_environment(path) if needed else ():
            values = self.table(cls, {}, (*path, name))
            found.setdefault(name, cls(**values))
        wrong = any(problem.key.startswith("domains") for problem in self.problems)
        elsewhere = needed and self.source.tree.get("relay_domains")
        if found or wrong or elsewhere or not needed:
            return found
        self.missing(path, None)
        return ABSENT

    def rows(self, cls: Any, raw: Any, path: Key) -> Any:
        """`[[relay]]`: tables in order."""
        if raw is ABSENT:
            return ABSENT
        if not isinstance(raw, list):
            advice = f"write [[{dotted(path)}]]"
            self.wrong(path, raw, Fault("is a list of tables", advice=advice))
            return ABSENT
        found = []
        for number, inner in enumerate(raw):
            here = (*path, number)
            values = self.table(cls, self.mapping(inner, here), here)
            if self.whole(cls, values):
                found.append(cls(**values))
        return found

    @staticmethod
    def whole(cls: Any, values: Mapping[str, Any]) -> bool:
        """Whether nothing is missing; what is has been reported."""
        needed = (
            field.name
            for field in fields(cls)
            if field.default is MISSING and field.default_factory is MISSING
        )
        return all(name in values for name in needed)

    def named_in_environment(self, path: Key) -> Iterator[str]:
        """FASTSMTP_DOMAINS="example.org, example.net": domains with the defaults."""
        entry = self.source.texts.get(dotted(path))
        if entry is None:
            return
        self.used.add(dotted(path))
        for name in (word.strip() for word in entry[0].split(",")):
            if fault := name_fault(name):
                self.wrong_variable(entry, dotted(path), Fault(f'"{name}" {fault}'))
            else:
                yield name.lower()

    def setting(self, setting: Setting, raw: Any, path: Key) -> Any:
        """The environment wins over the file, NAME over NAME_FILE."""
        name = dotted(path).replace('"', "").lower()
        for variable, is_file in ((name, False), (f"{name}_file", True)):
            entry = self.source.texts.get(variable)
            if entry is not None:
                self.used.add(variable)
                return self.variable(entry, setting, path, is_file)
        if raw is ABSENT:
            return ABSENT
        try:
            return read(raw, setting)
        except Wrong as wrong:
            for fault in wrong.faults:
                part = raw
                for step in fault.below:
                    part = part[step]
                self.wrong((*path, *fault.below), part, fault, allowed(setting))
            return ABSENT if wrong.rest is None else wrong.rest

    def variable(
        self, entry: tuple[str, str], setting: Setting, path: Key, is_file: bool
    ) -> Any:
        text = entry[0]
        try:
            if is_file:
                text = (self.source.base / text).read_text().rstrip("\r\n")
            return read_text(text, setting)
        except OSError as error:
            self.wrong_variable(
                entry, dotted(path), Fault(f"cannot be read: {error.strerror}")
            )
        except UnicodeDecodeError:
            self.wrong_variable(entry, dotted(path), Fault("is not UTF-8 text"))
        except Wrong as wrong:
            for fault in wrong.faults:
                self.wrong_variable(
                    entry, dotted(path), fault, allowed(setting), hide=is_file
                )
        return ABSENT

    def wrong(self, path: Key, raw: Any, fault: Fault, allowed: str = "") -> None:
        place = self.source.place(path)
        self.problems.append(
            Problem(
                source=self.source.file,
                key=dotted(path),
                line=place.line,
                column=place.column,
                value="" if raw is ABSENT else _shorten(toml(raw)),
                text=fault.text,
                allowed=allowed,
                advice=fault.advice,
            )
        )

    def wrong_variable(
        self,
        entry: tuple[str, str],
        name: str,
        fault: Fault,
        allowed: str = "",
        hide: bool = False,
    ) -> None:
        """`hide`: the value came from a file and may be a secret."""
        self.problems.append(
            Problem(
                source=f"environment {entry[1]}",
                key=name,
                value="" if hide else _shorten(toml(entry[0])),
                text=fault.text,
                allowed=allowed,
                advice=fault.advice,
            )
        )

    def missing(self, path: Key, setting: Setting | None) -> None:
        place = self.source.place(path)
        name = dotted(path)
        line = f"{name} = …"
        if setting is None:
            line = f'[{name}."example.org"], one for each domain whose mail is taken'
        self.problems.append(
            Problem(
                source=self.source.file,
                key=name,
                line=place.line,
                column=place.column,
                text="is missing and has no default",
                allowed=allowed(setting) if setting else "",
                advice=f"add {line}",
            )
        )

    def options(self, cls: Any, path: Key, raw: Mapping[str, Any]) -> Any:
        """A table that a module of a user described; relative paths are moved. None
        when it is not whole."""
        values = self.table(cls, raw, path)
        for field in fields(cls):
            if field.metadata["kind"] == PATH and values.get(field.name) is not None:
                values[field.name] = self.source.base / values[field.name]
        return cls(**values) if self.whole(cls, values) else None

    def unknown(self, name: str, known: tuple[str, ...], path: Key, raw: Any) -> None:
        self.wrong(path, raw, Fault("is not a setting", advice=_nearest(name, known)))

    def unused(self) -> None:
        """A variable that names nothing is a warning: orchestrators add their own."""
        names = tuple(map(variable, known_settings()))
        for name, entry in self.source.texts.items():
            if name in self.used or name in TOLERATED:
                continue
            self.problems.append(
                Problem(
                    source=f"environment {entry[1]}",
                    key=name,
                    text="names no setting and is ignored",
                    advice=_alike(entry[1].upper(), names),
                    severity="warning",
                )
            )


HOOK_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def hook_name_fault(name: str) -> str | None:
    """Hooks are named in metrics and in the log."""
    return None if HOOK_NAME.fullmatch(name.lower()) else "is no name for a hook"


NAMES: Final = {
    "domains": (name_fault, 'a domain such as "example.org"', True),
    "relay_domains": (name_fault, 'a domain such as "example.org"', False),
    "destinations": (destination_fault, '"example.org", ".example.org" or "*"', False),
    "dnsbl": (name_fault, 'the domain of a list, "zen.example.net"', False),
    "hooks": (hook_name_fault, "letters, digits, _ and -, at most 32", False),
}
"""Tables with a table per name: what a name may be, and whether one is needed."""

TOLERATED: Final = frozenset({"build"})  # FASTSMTP_BUILD: how setup.py compiles


def known_settings(cls: type = Config, prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting outside `[domains]`."""
    hints = get_type_hints(cls)
    for field in fields(cls):
        if is_dataclass(hints[field.name]):
            yield from known_settings(hints[field.name], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def variable(name: str) -> str:
    """The environment's name of a setting: smtp.listen is FASTSMTP_SMTP__LISTEN."""
    return PREFIX + name.upper().replace(".", "__")


def _alike(name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else ""


def _nearest(name: str, known: tuple[str, ...]) -> str:
    if close := _alike(name.lower(), known):
        return close
    elsewhere = [path for path in known_settings() if path.split(".")[-1] == name]
    if elsewhere:
        table = elsewhere[0].rpartition(".")[0]
        where = f"[{table}]" if table else "the top of the file, before any [table]"
        return f"{name} belongs to {where}"
    return f"known here: {', '.join(known)}"


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
