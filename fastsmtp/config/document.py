"""The option texts as a commented TOML file and as the page docs/configure.md."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from fastsmtp.config.kinds import Setting, key, limits, show, toml
from fastsmtp.config.model import Config
from fastsmtp.options import CHOICE, CHOICES

WIDTH: Final = 80
REQUIRED_EXAMPLES: Final = {
    "hostname": '"mx.example.org"',
    "data": '"/var/lib/fastsmtp"',
}
UNSET_EXAMPLES: Final = {"run": '"/run/fastsmtp"'}
NAMED_EXAMPLE: Final = "example.org"
NAMED_EXAMPLES: Final = {
    "domains": f'"{NAMED_EXAMPLE}"',
    "relay_domains": '"example.net"',
    "destinations": '"example.com"',
    "dnsbl": '"zen.example.net"',
    "hooks": "NAME",
}
PAGES: Final = {
    "relay_domains": "docs/relay.md",
    "[relay]": "docs/relay.md",
    "destinations": "docs/relay.md",
    "dnsbl": "docs/policy.md",
    "hooks": "docs/hooks.md",
}
"""Where tables that are there only when somebody wants them are explained."""


def tables() -> Iterator[tuple[str, type]]:
    """Every table that an operator may write, "" first; `[domains."…"]` by example."""
    yield "", Config
    for name, hint in get_type_hints(Config).items():
        if is_dataclass(hint):
            yield name, hint  # type: ignore[misc]
        elif get_origin(hint) is dict:
            yield f"{name}.{NAMED_EXAMPLES[name]}", get_args(hint)[1]
        elif get_origin(hint) is list and is_dataclass(get_args(hint)[0]):
            yield f"[{name}]", get_args(hint)[0]


def settings(cls: type) -> Iterator[tuple[Field[Any], Setting]]:
    """The settings of a table, without the tables inside it."""
    hints = get_type_hints(cls)
    for field in fields(cls):
        if "kind" in field.metadata:
            setting = Setting(field.metadata["kind"], hints[field.name], field.metadata)
            yield field, setting


def default(field: Field[Any], setting: Setting) -> str | None:
    """As it is written in the file; None where there is none."""
    value = field.default
    if field.default_factory is not MISSING:
        value = field.default_factory()
    if value is MISSING or value in ("", Path()):
        return None
    return show(value, setting.kind)


def defaults(values: Mapping[str, Any] | None = None) -> str:
    """A configuration file that sets `values` (by dotted name; "domains" is the table
    of domains) and shows every other setting as a comment with its default."""
    given = dict(values or {})
    blocks = []
    for name, cls in tables():
        if name.startswith("domains."):
            blocks += _domains(cls, given.get("domains"))
            continue
        if name.partition(".")[0] in PAGES:
            blocks.append(_without_one(name, cls))
            continue
        lines = [f"[{name}]"] if name else []
        prefix = f"{name}." if name else ""
        for field, setting in settings(cls):
            lines += _lines(field, setting, given.get(prefix + field.name))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _without_one(name: str, cls: type) -> str:
    """A table that is there only where somebody wants it."""
    page = PAGES[name.partition(".")[0]]
    shown = [
        f"#   {field.name} = {default(field, s) or '…'}" for field, s in settings(cls)
    ]
    return "\n".join((f"# [{name}]  {page}", *shown))


def _domains(cls: type, given: Mapping[str, Mapping[str, Any]] | None) -> list[str]:
    blocks = []
    for domain, values in (given or {NAMED_EXAMPLE: {}}).items():
        lines = [f"[domains.{toml(domain)}]"]
        for field, setting in settings(cls):
            lines += _lines(field, setting, values.get(field.name))
        blocks.append("\n".join(lines))
    return blocks


def _lines(field: Field[Any], setting: Setting, given: Any) -> list[str]:
    lines = [f"# {line}" for line in textwrap.wrap(_about(setting), WIDTH - 2)]
    if given is not None:
        return [*lines, f"{key(field.name)} = {show(given, setting.kind)}"]
    if field.name in REQUIRED_EXAMPLES:
        return [*lines, f"{key(field.name)} = {REQUIRED_EXAMPLES[field.name]}"]
    shown = default(field, setting) or UNSET_EXAMPLES.get(field.name, '""')
    return [*lines, f"# {key(field.name)} = {shown}"]


def _about(setting: Setting) -> str:
    bounds = limits(setting)
    if setting.kind in (CHOICE, CHOICES):
        bounds = f"{'one' if setting.kind == CHOICE else 'some'} of {bounds}"
    return f"{setting.meta['doc']}; {bounds}" if bounds else str(setting.meta["doc"])


INTRODUCTION: Final = """\
# Configure

One TOML file. `fastsmtp quickstart DIR --domain D` writes it with every setting
as a comment; `fastsmtp check` names every mistake in it with its line. Without
`-c FILE` a command reads `./fastsmtp.toml`, then `/etc/fastsmtp/fastsmtp.toml`.
Only `hostname`, `data` and one domain are needed:

```toml
hostname = "mx.example.org"
data = "/var/lib/fastsmtp"

[domains."example.org"]
aliases = { postmaster = ["alice@example.org"] }
```

A relative path starts at the folder of the file. Sizes read `"50 MiB"` or a number
of octets; times read `"5 min"`, `"250 ms"`, `"1 d"` or a number of seconds. A
setting that is not known is an error.

**Environment.** Each setting can come from a variable, which wins over the file:
`FASTSMTP_` and the name in capitals, tables joined by two underscores:
`FASTSMTP_HOSTNAME`, `FASTSMTP_SMTP__MAX_MESSAGE_SIZE="20 MiB"`. Lists take commas:
`FASTSMTP_SMTP__LISTEN="0.0.0.0:25, [::]:25"`. `FASTSMTP_DOMAINS="example.org,
example.net"` adds domains; where the platform allows dots in names,
`FASTSMTP_DOMAINS__EXAMPLE.ORG__CATCH_ALL` reaches into one. Any of them with
`_FILE` at its end names a file whose content is the value, for secrets:
`FASTSMTP_HOSTNAME_FILE=/run/secrets/hostname`. A variable that names no setting is
a warning, because orchestrators add their own.

This page is made from the texts in the code: `python -m fastsmtp.config`.
"""


def markdown() -> str:
    """The page docs/configure.md; a test compares it with the file."""
    blocks = [INTRODUCTION]
    for name, cls in tables():
        title = f"`[{name}]`" if name else "Top of the file"
        rows = ["| setting | default | what it is |", "|---|---|---|"]
        for field, setting in settings(cls):
            shown = default(field, setting)
            cell = f"`{shown}`" if shown else _without_default(field.name)
            rows.append(f"| `{field.name}` | {cell} | {_about(setting)} |")
        blocks.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(blocks)


def _without_default(name: str) -> str:
    if name in (*REQUIRED_EXAMPLES, "module", "next_hop", "via"):
        return "needed"
    return "`run` in `data`" if name == "run" else "unset"
