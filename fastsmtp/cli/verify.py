"""`fastsmtp verify`: is everything there that the index says, and unharmed?"""

import argparse
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastsmtp.cli import FAILED, OK, Failure
from fastsmtp.cli.terminal import Progress, config_argument, json_argument
from fastsmtp.store.options import StoreOptions


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir",
        metavar="DIR",
        nargs="?",
        type=Path,
        help="a backup to check instead of the data folder of the configuration",
    )
    config_argument(parser)
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from fastsmtp.store.lmdb import UNFINISHED

    data, options = _store(args)
    if (data / UNFINISHED).exists():
        raise Failure(f"{data} is a backup that was not finished", "make another")
    if not (data / "index").is_dir():
        raise Failure(f"{data} holds no store: it has no folder index")
    faults = 0
    for finding in _findings(data, options):
        faults += finding["fault"]
        print(json.dumps(finding) if args.json else _line(finding))
    if not args.json:
        print(f"{data}: {_verdict(faults)}")
    return FAILED if faults else OK


def _store(args: argparse.Namespace) -> tuple[Path, StoreOptions]:
    """The folder and how to open it; a backup needs no configuration beside it."""
    from fastsmtp import config

    try:
        found = config.find(args.config)
    except config.ConfigErrors:
        if args.dir is None:
            raise
        return args.dir, StoreOptions()
    loaded = config.load(found)
    return args.dir or loaded.data, loaded.store


def _verdict(faults: int) -> str:
    if faults:
        return f"{faults} fault{'s' if faults > 1 else ''}"
    return "every entry has its body, every checksum and every count holds"


def _line(finding: dict[str, Any]) -> str:
    where = f"{finding['what']}: {finding['where']}: {finding['text']}"
    whose = "".join(f"\n    {entry}" for entry in finding["entries"])
    id = f" (message {finding['id']})" if finding["id"] else ""
    return f"{where}{id}{whose}"


def _findings(data: Path, options: StoreOptions) -> Iterator[dict[str, Any]]:
    from fastsmtp.owner import as_owner
    from fastsmtp.queue.message import queue_id
    from fastsmtp.store.lmdb.verify import verify

    with as_owner(data), _claimed(data), Progress("verifying", 0, "B") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.add(done - bar.done)

        for finding in verify(data, options, references, progress):
            yield {
                "what": finding.what,
                "fault": finding.is_fault,
                "where": finding.where,
                "text": finding.text,
                "id": queue_id(finding.id) if finding.id else "",
                "entries": list(_named(data, options, finding.entries)),
            }


@contextmanager
def _claimed(data: Path) -> Iterator[None]:
    """Nobody may write meanwhile."""
    from fastsmtp.errors import StoreUnavailable
    from fastsmtp.store.lmdb import lock

    try:
        claim = lock(data)
    except StoreUnavailable as error:
        raise Failure(str(error), "stop it, or make a backup and verify that") from None
    with claim:
        yield


def references(part: int, key: bytes, value: bytes) -> tuple[int, ...]:
    """The blobs that an entry of the index refers to."""
    from fastsmtp.mailbox import values
    from fastsmtp.queue import listing

    return (
        *values.references(part, key, value),
        *listing.references(part, key, value),
    )


def _named(
    data: Path, options: StoreOptions, entries: Iterable[tuple[int, bytes]]
) -> Iterator[str]:
    """Whose mail an entry is, in words."""
    from fastsmtp.mailbox.values import decode_email
    from fastsmtp.queue.message import queue_id
    from fastsmtp.store import keys
    from fastsmtp.store.lmdb import LmdbStore

    if not entries:
        return
    store = LmdbStore.read(data, options)
    try:
        for part, key in entries:
            number = int.from_bytes(key[1:], "big")
            if part < keys.FIRST_ACCOUNT:
                yield f"in the queue as {queue_id(number)}"
                continue
            value = store.peek(part, key)
            places = decode_email(value).places if value is not None else {}
            uids = ", ".join(f"mailbox {box} UID {uid}" for box, uid in places.items())
            yield f"{_address(store, part)}: {uids}"
    finally:
        store.index.close()


def _address(store: Any, part: int) -> str:
    from fastsmtp.auth.accounts import decode_account
    from fastsmtp.store import keys

    found = store.index.scan(keys.DIRECTORY, b"a", keys.after(b"a"), 1 << 30, False)
    for _, value in found:
        account = decode_account(value)
        if account.id == part:
            return account.address
    return f"account {part}"
