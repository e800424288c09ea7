"""How each kind of setting is written: text or TOML value -> value, and back.

A reader raises `Wrong` with one sentence about the value; `allowed` is the sentence
about what may stand there instead.
"""

import ipaddress
import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, get_args

from fastsmtp.config.words import (
    local_part_fault,
    mailbox_fault,
    name_fault,
    origin_fault,
    pattern_fault,
)
from fastsmtp.net.options import CertificatePair
from fastsmtp.options import (
    ADDRESS,
    ADDRESSES,
    ALIASES,
    CERTIFICATES,
    CHOICE,
    CHOICES,
    COUNT,
    DURATION,
    DURATIONS,
    FILE,
    HOSTNAME,
    MAILBOX,
    MODULE,
    NETWORKS,
    NEXT_HOP,
    NUMBER,
    ORIGINS,
    PATH,
    PATTERNS,
    SCORES,
    SENDERS,
    SIZE,
    SWITCH,
    TABLE,
    TEXT,
    TEXTS,
    split_address,
    unix_path,
)
from fastsmtp.policy.lists import code_range
from fastsmtp.policy.relaying import read_via

_N = TypeVar("_N", int, float)
_T = TypeVar("_T")


class Fault(NamedTuple):
    """What is wrong with a value, or with the part of it at `below`."""

    text: str
    below: tuple[str | int, ...] = ()
    advice: str = ""


class Wrong(Exception):
    """A value cannot be read; `faults` holds every reason, `rest` what of a list or
    table is still good, so that it can be checked further."""

    def __init__(self, *faults: Fault, rest: Any = None) -> None:
        super().__init__("; ".join(fault.text for fault in faults))
        self.faults = faults
        self.rest = rest


class Setting(NamedTuple):
    """One field of an options class, as `fastsmtp.options.option` described it."""

    kind: str
    hint: Any
    meta: Mapping[str, Any]

    @property
    def choices(self) -> tuple[str, ...]:
        hint = get_args(self.hint)[0] if self.kind == CHOICES else self.hint
        return get_args(hint)


_SIZES: Final = {
    "B": 1,
    **{f"{letter}B": 1000**n for n, letter in enumerate("KMGT", 1)},
    **{f"{letter}IB": 1024**n for n, letter in enumerate("KMGT", 1)},
}
_TIMES: Final = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 7 * 86400.0,
}
_MEASURE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_MODULE: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PAIR: Final = ("certificate", "key")
SOCKET_PATH: Final = 107  # octets in sun_path without its NUL (unix(7))


def _text(raw: Any, setting: Setting) -> str:
    if not isinstance(raw, str):
        raise Wrong(Fault("is not text", advice='put it in quotes: "…"'))
    if any(c < " " or c == "\x7f" for c in raw):
        raise Wrong(Fault("holds a control character"))
    return raw


def _count(raw: Any, setting: Setting) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise Wrong(Fault("is not a whole number"))
    return _bounded(raw, setting)


def _size(raw: Any, setting: Setting) -> int:
    if isinstance(raw, str):
        number, unit = _measure(raw, "a size")
        factor = _SIZES.get(unit.upper() or "B")
        if factor is None:
            raise Wrong(Fault(f'has the unknown unit "{unit}"; there are KiB, KB, …'))
        raw = number * factor
        if raw != int(raw):
            raise Wrong(Fault("is not a whole number of octets"))
        raw = int(raw)
    return _count(raw, setting)


def _duration(raw: Any, setting: Setting) -> float:
    if isinstance(raw, str):
        number, unit = _measure(raw, "a duration")
        factor = _TIMES.get(unit or "s")
        if factor is None:
            known = ", ".join(_TIMES)
            raise Wrong(Fault(f'has the unknown unit "{unit}"; there are {known}'))
        raw = number * factor
    number_like = isinstance(raw, int | float) and not isinstance(raw, bool)
    if not number_like or not math.isfinite(raw):
        raise Wrong(Fault("is not a duration"))
    return _bounded(float(raw), setting)


def _measure(raw: str, what: str) -> tuple[float, str]:
    match = _MEASURE.fullmatch(raw.strip())
    if match is None:
        raise Wrong(Fault(f"is not {what}"))
    return float(match[1]), match[2]


def _bounded(number: _N, setting: Setting) -> _N:
    low, high = setting.meta.get("low"), setting.meta.get("high")
    if number < (low or 0):
        raise Wrong(Fault("is too small"))
    if high is not None and number > high:
        raise Wrong(Fault("is too large"))
    return number


def _number(raw: Any, setting: Setting) -> float:
    number_like = isinstance(raw, int | float) and not isinstance(raw, bool)
    if not number_like or not math.isfinite(raw):
        raise Wrong(Fault("is not a number"))
    return _bounded(float(raw), setting)


def _scores(raw: Any, setting: Setting) -> dict[str, float]:
    """Answers of a DNS list, and what each counts."""
    faults = []
    for code, score in _table(raw, setting).items():
        try:
            code_range(code)
            _number(score, setting._replace(meta={"low": -1000, "high": 1000}))
        except ValueError as error:
            faults.append(Fault(str(error), (code,)))
        except Wrong as wrong:
            faults += [Fault(fault.text, (code,)) for fault in wrong.faults]
    if faults:
        raise Wrong(*faults)
    return {code: float(score) for code, score in raw.items()}


def _switch(raw: Any, setting: Setting) -> bool:
    if not isinstance(raw, bool):
        raise Wrong(Fault("is neither true nor false"))
    return raw


def _choice(raw: Any, setting: Setting) -> str:
    if raw not in setting.choices:
        raise Wrong(Fault("is not one of the words allowed"))
    return str(raw)


def _choices(raw: Any, setting: Setting) -> list[str]:
    values = _each(raw, setting, _choice)
    if len(set(values)) < len(values):
        raise Wrong(Fault("names one of them twice"))
    return values


def _texts(raw: Any, setting: Setting) -> list[str]:
    return _each(raw, setting, _text)


def _durations(raw: Any, setting: Setting) -> tuple[float, ...]:
    values = tuple(_each(raw, setting, _duration))
    if not values:
        raise Wrong(Fault("is empty"))
    return values


def _module(raw: Any, setting: Setting) -> str:
    """A path that ends in .py, or a dotted name."""
    text = _text(raw, setting)
    if not text.endswith(".py") and not _MODULE.fullmatch(text):
        raise Wrong(Fault("is neither a .py file nor the name of a module"))
    return text


def _table(raw: Any, setting: Setting) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise Wrong(Fault("is not a table", advice="write { name = value }"))
    return raw


def _address(raw: Any, setting: Setting) -> str:
    """One address; "" is none."""
    return _text(raw, setting) and _listen(raw, setting)


def _listen(raw: Any, setting: Setting) -> str:
    text = _text(raw, setting)
    try:
        split_address(text)
    except ValueError as error:
        raise Wrong(Fault(str(error))) from None
    return text


def _addresses(raw: Any, setting: Setting) -> list[str]:
    return _each(raw, setting, _place)


def _place(raw: Any, setting: Setting) -> str:
    """An address, or the path of a Unix socket."""
    text = _text(raw, setting)
    if not text.startswith("unix:"):
        return _listen(raw, setting)
    path = unix_path(text)
    if not path.startswith("/"):
        raise Wrong(Fault("is not a whole path", advice='write "unix:/folder/name"'))
    if len(path.encode()) > SOCKET_PATH:
        raise Wrong(Fault(f"is longer than {SOCKET_PATH} octets behind unix:"))
    return text


def _network(raw: Any, setting: Setting) -> str:
    """An address or a prefix, as text that `ipaddress.ip_network` reads."""
    text = _text(raw, setting).strip()
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Wrong(Fault("is not a network")) from None
    if "/" in text and ipaddress.ip_interface(text).ip != network.network_address:
        raise Wrong(Fault("has bits behind its prefix", advice=f'write "{network}"'))
    return str(network)


def _networks(raw: Any, setting: Setting) -> list[str]:
    return _each(raw, setting, _network)


def _each(raw: Any, setting: Setting, read: Callable[[Any, Setting], _T]) -> list[_T]:
    """Every element of a list; all faults together, each with its index."""
    if not isinstance(raw, list):
        raise Wrong(Fault("is not a list", advice='write ["…", "…"]'))
    values, faults = [], []
    for index, item in enumerate(raw):
        try:
            values.append(read(item, setting))
        except Wrong as wrong:
            faults += [Fault(f.text, (index, *f.below), f.advice) for f in wrong.faults]
    if faults:
        raise Wrong(*faults, rest=values or None)
    return values


def _path(raw: Any, setting: Setting) -> Path:
    text = _text(raw, setting)
    if not text:
        raise Wrong(Fault("is empty"))
    return Path(text)


def _file(raw: Any, setting: Setting) -> str:
    return str(_path(raw, setting)) if raw != "" else ""


def _next_hop(raw: Any, setting: Setting) -> str:
    text = _text(raw, setting)
    try:
        read_via(text)
    except ValueError as error:
        raise Wrong(Fault(str(error))) from None
    return text


def _patterns(raw: Any, setting: Setting) -> list[str]:
    return _each(raw, setting, partial(_word, pattern_fault))


def _origins(raw: Any, setting: Setting) -> list[str]:
    return _each(raw, setting, partial(_word, origin_fault))


def _word(fault_of: Callable[[str], str | None], raw: Any, setting: Setting) -> str:
    text = _text(raw, setting)
    if fault := fault_of(text):
        raise Wrong(Fault(fault))
    return text


def _hostname(raw: Any, setting: Setting) -> str:
    return _word(name_fault, raw, setting)


def _mailbox(raw: Any, setting: Setting) -> str:
    text = _text(raw, setting)
    if text and (fault := mailbox_fault(text)):
        raise Wrong(Fault(fault))
    return text


def _target(raw: Any, setting: Setting) -> str:
    if raw == "":
        raise Wrong(Fault("is empty"))
    return _mailbox(raw, setting)


def _aliases(raw: Any, setting: Setting) -> dict[str, list[str]]:
    if not isinstance(raw, dict):
        raise Wrong(Fault("is not a table", advice='write { name = ["address"] }'))
    found: dict[str, list[str]] = {}
    faults = []
    for name, targets in raw.items():
        try:
            found[name] = _alias(name, targets, setting)
        except Wrong as wrong:
            faults += [Fault(f.text, (name, *f.below), f.advice) for f in wrong.faults]
            found[name] = wrong.rest or []
    if faults:
        raise Wrong(*faults, rest=found)
    return found


def _alias(name: str, targets: Any, setting: Setting) -> list[str]:
    if "@" in name:
        raise Wrong(
            Fault(
                "names its domain twice",
                advice=f'write only "{name.rpartition("@")[0]}", the part before the @',
            )
        )
    if fault := local_part_fault(name):
        raise Wrong(Fault(fault))
    found = _each([targets] if isinstance(targets, str) else targets, setting, _target)
    if not found:
        raise Wrong(Fault("leads nowhere: its list is empty"))
    return found


def _senders(raw: Any, setting: Setting) -> dict[str, list[str]]:
    if not isinstance(raw, dict):
        raise Wrong(Fault("is not a table", advice='write { "account" = ["address"] }'))
    found: dict[str, list[str]] = {}
    faults = []
    for account, senders in raw.items():
        fault = mailbox_fault(account)
        if fault is not None:
            faults.append(Fault(f"stands for an account and {fault}", (account,)))
            continue
        try:
            found[account] = _each(senders, setting, _sender)
        except Wrong as wrong:
            faults += [
                Fault(f.text, (account, *f.below), f.advice) for f in wrong.faults
            ]
    if faults:
        raise Wrong(*faults)
    return found


def _sender(raw: Any, setting: Setting) -> str:
    """An address, "@domain" for all of a domain, "*" for all there are."""
    text = _text(raw, setting)
    fault = name_fault(text[1:]) if text.startswith("@") else mailbox_fault(text)
    if text != "*" and fault is not None:
        raise Wrong(Fault(fault))
    return text


def _pair(raw: Any, setting: Setting) -> CertificatePair:
    if not isinstance(raw, dict):
        raise Wrong(
            Fault("is not a table", advice='write { certificate = "…", key = "…" }')
        )
    paths, faults = {}, []
    for name in dict.fromkeys((*_PAIR, *raw)):
        try:
            paths[name] = _half(name, raw, setting)
        except Wrong as wrong:
            below = (name,) if name in raw else ()
            faults += [Fault(f.text, below, f.advice) for f in wrong.faults]
    if faults:
        raise Wrong(*faults)
    return CertificatePair(**paths)


def _half(name: str, raw: Mapping[str, Any], setting: Setting) -> Path:
    if name not in _PAIR:
        raise Wrong(Fault("is not a setting", advice="known here: " + ", ".join(_PAIR)))
    if name not in raw:
        raise Wrong(Fault(f"names no {name}"))
    return _path(raw[name], setting)


def _certificates(raw: Any, setting: Setting) -> list[CertificatePair]:
    return _each(raw, setting, _pair)


READERS: Final[Mapping[str, Callable[[Any, Setting], Any]]] = {
    TEXT: _text,
    COUNT: _count,
    SIZE: _size,
    DURATION: _duration,
    SWITCH: _switch,
    CHOICE: _choice,
    CHOICES: _choices,
    ADDRESS: _address,
    ADDRESSES: _addresses,
    NETWORKS: _networks,
    PATH: _path,
    FILE: _file,
    NEXT_HOP: _next_hop,
    PATTERNS: _patterns,
    ORIGINS: _origins,
    HOSTNAME: _hostname,
    MAILBOX: _mailbox,
    ALIASES: _aliases,
    MODULE: _module,
    NUMBER: _number,
    SCORES: _scores,
    TABLE: _table,
    TEXTS: _texts,
    DURATIONS: _durations,
    SENDERS: _senders,
    CERTIFICATES: _certificates,
}


def read(raw: Any, setting: Setting) -> Any:
    """The value of a setting from what TOML gave; raises `Wrong`."""
    value = READERS[setting.kind](raw, setting)
    check = setting.meta.get("check")
    if check is not None and (sentence := check(value)):
        raise Wrong(Fault(sentence))
    return value


TOML_KINDS: Final = frozenset(
    (COUNT, SWITCH, NUMBER, SCORES, ALIASES, SENDERS, CERTIFICATES, TABLE)
)
"""What is no plain text in an environment variable either."""


LISTS: Final = frozenset(
    (ADDRESSES, CHOICES, DURATIONS, NETWORKS, ORIGINS, PATTERNS, TEXTS)
)


def read_text(text: str, setting: Setting) -> Any:
    """The same from an environment variable or a file: plain text, or TOML where the
    value is a list or a table; a list of words may be given with commas."""
    raw: Any = text
    if setting.kind in TOML_KINDS:
        raw = _toml(text)
    elif setting.kind in LISTS:
        words = [word.strip() for word in text.split(",") if word.strip()]
        raw = _toml(text) if text.lstrip().startswith("[") and '"' in text else words
    return read(raw, setting)


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text


_ALLOWED: Final[Mapping[str, str]] = {
    TEXT: "text in quotes",
    COUNT: "a whole number",
    SIZE: 'a size such as "50 MiB", or a number of octets',
    DURATION: 'a time such as "5 min", "250 ms" or "1 d", or a number of seconds',
    NUMBER: "a number",
    SCORES: 'a table of numbers by answer: { "127.0.0.2" = 3, "127.0.0.4-7" = 2 }',
    SWITCH: "true or false",
    CHOICE: "one of",
    CHOICES: "a list of these:",
    MODULE: 'a .py file or a dotted name, such as "fastsmtp.hooks.rspamd"',
    TABLE: "a table",
    TEXTS: 'a list of texts: ["…", "…"]',
    DURATIONS: 'a list of times: ["5 min", "1 h"]',
    ADDRESS: '"host:port", such as "127.0.0.1:25" or "[::]:25", or "" for none',
    ADDRESSES: 'a list of "host:port" or "unix:/path", such as ["[::]:25"]',
    NETWORKS: 'a list of networks, such as ["192.0.2.0/24", "2001:db8::/32"]',
    PATH: "the path of a folder",
    FILE: "the path of a file",
    NEXT_HOP: 'a next hop, such as "smtp://mail.example.org:25"',
    PATTERNS: 'a list of domains, such as ["example.org", ".example.org"]',
    ORIGINS: 'a list of senders, such as ["alice@example.org", "@example.net"]',
    HOSTNAME: 'a full host name such as "mx.example.org"',
    MAILBOX: 'an e-mail address such as "alice@example.org"',
    CERTIFICATES: 'a list of pairs: [{ certificate = "mx.crt", key = "mx.key" }]',
    SENDERS: 'a table of lists: { "alice@example.org" = ["@example.net"] }',
    ALIASES: 'a table of lists of addresses: { sales = ["alice@example.org"] }',
}


def allowed(setting: Setting) -> str:
    """What may stand there, in one clause without a full stop."""
    return _ALLOWED[setting.kind] + _joined(setting)


def _joined(setting: Setting) -> str:
    words = limits(setting)
    separator = " " if setting.kind in (CHOICE, CHOICES) else ", "
    return separator + words if words else ""


def limits(setting: Setting) -> str:
    """The words or the range that a value must keep to; "" when there are none."""
    if setting.kind in (CHOICE, CHOICES):
        return ", ".join(f'"{word}"' for word in setting.choices)
    low, high = setting.meta.get("low"), setting.meta.get("high")
    return ", ".join(
        f"{word} {show(bound, setting.kind)}"
        for word, bound in (("at least", low), ("at most", high))
        if bound is not None
    )


def show(value: Any, kind: str) -> str:
    """A value as one writes it in the file."""
    if kind == SIZE:
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if value and value % _SIZES[unit.upper()] == 0:
                return f'"{value // _SIZES[unit.upper()]} {unit}"'
        return f'"{value} B"' if value else "0"
    if kind == DURATION or (kind == DURATIONS and isinstance(value, int | float)):
        for unit in ("d", "h", "min", "s"):
            if value and value % _TIMES[unit] == 0:
                return f'"{value / _TIMES[unit]:g} {unit}"'
        return f'"{value * 1000:g} ms"' if value else "0"
    if kind == DURATIONS:
        return "[" + ", ".join(show(item, DURATION) for item in value) + "]"
    return toml(value)


def toml(value: Any) -> str:
    """Any value as TOML on one line."""
    if isinstance(value, CertificatePair):
        return toml({name: getattr(value, name) for name in _PAIR})
    if isinstance(value, Mapping):
        pairs = (f"{key(str(name))} = {toml(item)}" for name, item in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def key(name: str) -> str:
    """A key, in quotes where TOML needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)
