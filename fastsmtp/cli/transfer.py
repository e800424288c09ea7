"""Mail out of a mailbox and into one: mbox and Maildir, as streams."""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from fastsmtp.cli import OK, Failure, maildir, mbox
from fastsmtp.cli.access import operations
from fastsmtp.cli.contents import Contents, sender
from fastsmtp.cli.letter import Letter, private
from fastsmtp.cli.reading import reading
from fastsmtp.cli.remote import Caller, ask
from fastsmtp.cli.terminal import Progress
from fastsmtp.config import Config
from fastsmtp.mailbox.values import Email
from fastsmtp.serve.operations import Mail, MailImport

BATCH_MESSAGES: Final = 500
BATCH_OCTETS: Final = 4 * 1024 * 1024
"""What is sent to the store at once: it costs one flush and one commit."""


async def export_mbox(config: Config, args: argparse.Namespace) -> int:
    count = 0
    async with reading(config) as store:
        contents = await Contents.open(store, args.address, args.mailbox)
        with _new_file(args.target) as out:
            async for _, email, pieces in _outgoing(contents):
                name = sender(await contents.start(email))
                mbox.write(out, _letter(contents, email), name, pieces)
                count += 1
    _say(f"{args.target}: {count} messages written")
    return OK


async def export_maildir(config: Config, args: argparse.Namespace) -> int:
    count = keywords = 0
    async with reading(config) as store:
        contents = await Contents.open(store, args.address, args.mailbox)
        writer = maildir.Writer(Path(args.target), int(time.time()))
        async for uid, email, pieces in _outgoing(contents):
            writer.write(uid, _letter(contents, email), pieces)
            keywords += bool(email.keywords)
            count += 1
    _say(f"{args.target}: {count} messages written")
    if keywords:
        _say(f"{keywords} of them have keywords, which a Maildir does not keep")
    return OK


async def _outgoing(
    contents: Contents,
) -> AsyncIterator[tuple[int, Email, Iterator[bytes]]]:
    """(UID, email, pieces of its body), each before the next is opened."""
    with Progress("exporting", await contents.count()) as bar:
        async for uid, email in contents.emails():
            async with contents.body(email) as pieces:
                yield uid, email, pieces
            bar.add()


def _letter(contents: Contents, email: Email) -> Letter:
    deleted = contents.mailbox in email.deleted
    return Letter(b"", email.date, email.flags, deleted, email.keywords)


@contextlib.contextmanager
def _new_file(target: str) -> Iterator[BinaryIO]:
    """A file that did not exist; it goes again when the export fails."""
    if target == "-":
        yield sys.stdout.buffer
        return
    try:
        file = open(target, "xb", opener=private)  # noqa: SIM115
    except FileExistsError:
        raise Failure(
            f"{target} exists; nothing was written", "name another file"
        ) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(target)
        raise


def _say(text: str) -> None:
    print(text, file=sys.stderr)


async def import_mail(config: Config, args: argparse.Namespace) -> int:
    now = time.time_ns() // 1_000_000
    source = sys.stdin.buffer if args.source == "-" else _source(args.source)
    async with operations(config) as caller:
        try:
            with _progress(source) as bar:
                letters = _letters(source, now, bar)
                done = await _send(caller, args, letters)
        except ValueError as error:
            raise Failure(f"{args.source}: {error}") from None
    print(f"{args.address}: {done} messages imported into {args.mailbox}")
    return OK


def _source(name: str) -> BinaryIO | list[Path]:
    """An open mbox, or the messages of a Maildir."""
    path = Path(name)
    if not path.is_dir():
        return open(path, "rb")
    try:
        return maildir.names(path)
    except ValueError as error:
        raise Failure(f"{name}: {error}") from None


def _progress(source: BinaryIO | list[Path]) -> Progress:
    if isinstance(source, list):
        return Progress("importing", len(source))
    status = os.fstat(source.fileno())
    return Progress("importing", status.st_size, "B")


def _letters(
    source: BinaryIO | list[Path], now: int, bar: Progress
) -> Iterator[Letter]:
    if isinstance(source, list):
        for letter in maildir.read(source):
            bar.add()
            yield letter
        return
    yield from mbox.read(_counted(source, bar), now)


def _counted(lines: Iterable[bytes], bar: Progress) -> Iterator[bytes]:
    for line in lines:
        bar.add(len(line))
        yield line


async def _send(
    caller: Caller, args: argparse.Namespace, letters: Iterable[Letter]
) -> int:
    """Send in batches; how many were taken. What was taken stays, so a failure says
    how far it came."""
    done = 0
    for batch in _batches(letters):
        mails = tuple(
            Mail(len(m.body), m.date, m.flags, m.deleted, m.keywords) for m in batch
        )
        request = MailImport(args.address, mails, args.mailbox)
        try:
            await ask(caller, "mail.import", request, [m.body for m in batch])
        except asyncio.CancelledError:  # Ctrl-C
            _say(f"\n{done} messages have been imported")
            raise
        except Failure as failure:
            if not done:
                raise
            raise Failure(
                f"{failure}; {done} messages had been imported before",
                failure.advice,
            ) from None
        done += len(batch)
    return done


def _batches(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    batch: list[Letter] = []
    octets = 0
    for letter in letters:
        if batch and octets + len(letter.body) > BATCH_OCTETS:
            yield batch
            batch, octets = [], 0
        batch.append(letter)
        octets += len(letter.body)
        if len(batch) == BATCH_MESSAGES:
            yield batch
            batch, octets = [], 0
    if batch:
        yield batch
