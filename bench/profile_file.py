"""A profile of one's own, in TOML: one that there is, and what differs from it.

like = "mx"                          # unset: mx
what = "busy Mondays"                # for the report
sessions = 300
sizes = [[2048, 3], [65536, 1]]      # octets of payload, weight
sizes = { median = 6144, sigma = 1.4 }   # or a log-normal distribution
folder = "eml"                       # or real messages; beside this file
recipients = 1                       # of each message
mailboxes = 100                      # user0001 … that they are spread over
persistent = true                    # false: a connection per message
pipeline = true
bdat = false
lmtp = false
tls = false                          # STARTTLS
auth = false                         # AUTH PLAIN, behind it
"""

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from fastsmtp_bench.arguments import nearest
from fastsmtp_bench.profiles import PROFILES, Profile, Sizes, spread

KINDS: Final = {
    field.name: field.type for field in fields(Profile) if field.name != "name"
}
KNOWN: Final = ("like", *KINDS)
LARGEST: Final = 1 << 30  # octets of a message


class Mistake(Exception):
    """The file says something that cannot be meant, or there is none."""


def load(path: Path) -> Profile:
    """Raises Mistake."""
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as why:
        said = getattr(why, "strerror", None) or why
        raise Mistake(f"profile {path}: {said}") from None
    try:
        return read(document, path)
    except Mistake as why:
        raise Mistake(f"profile {path}: {why}") from None


def read(document: dict[str, Any], path: Path) -> Profile:
    """What the file at this path says. Raises Mistake."""
    if unknown := sorted(set(document) - set(KNOWN)):
        raise Mistake(f"no setting {unknown[0]}; {nearest(unknown[0], KNOWN)}")
    like = document.pop("like", "mx")
    if like not in PROFILES:
        raise Mistake(f"like is {like!r}, not one of {', '.join(PROFILES)}")
    given = {name: _value(name, value) for name, value in document.items()}
    if "folder" in given:
        given["folder"] = str(path.parent / given["folder"])
        if not Path(given["folder"]).is_dir():
            raise Mistake(f"{given['folder']} is not a folder")
    made = replace(PROFILES[like], name=path.stem, what=f"of {path.name}, like {like}")
    made = replace(made, **given)
    if made.auth and not made.tls:
        raise Mistake("auth wants tls: nobody is let log in in clear")
    if 0 < made.mailboxes < made.recipients:
        raise Mistake(f"{made.recipients} recipients want as many mailboxes")
    return made


def _value(name: str, value: object) -> Any:
    if name == "sizes":
        return _sizes(value)
    kind = KINDS[name]
    if kind is int:
        least = 0 if name == "mailboxes" else 1
        if type(value) is not int or value < least:
            raise Mistake(f"{name} is {value!r}, not a whole number from {least} on")
    elif type(value) is not kind:
        wanted = "true or false" if kind is bool else "a text"
        raise Mistake(f"{name} is {value!r}, not {wanted}")
    return value


def _sizes(value: object) -> Sizes:
    if isinstance(value, dict):
        if set(value) != {"median", "sigma"}:
            raise Mistake(f"sizes has {', '.join(value)}, not median and sigma")
        found = spread(_octets(value["median"]), _above_zero(value["sigma"]))
        return tuple((min(size, LARGEST), weight) for size, weight in found)
    if not isinstance(value, list) or not value:
        raise Mistake(f"sizes is {value!r}, not [[octets, weight], …]")
    return tuple(_pair(one) for one in value)


def _pair(one: object) -> tuple[int, float]:
    if not isinstance(one, list) or len(one) != 2:
        raise Mistake(f"{one!r} in sizes is not [octets, weight]")
    return _octets(one[0]), _above_zero(one[1])


def _octets(value: object) -> int:
    if type(value) is not int or not 0 < value <= LARGEST:
        raise Mistake(f"{value!r} in sizes is not octets from 1 to {LARGEST:,}")
    return value


def _above_zero(value: object) -> float:
    if type(value) not in (int, float) or not 0 < float(str(value)) < float("inf"):
        raise Mistake(f"{value!r} in sizes is not a number above 0")
    return float(str(value))
