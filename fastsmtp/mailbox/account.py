"""An account's life and its mail, against a store.

Every commit is checked against what was read and tried again when somebody else was
quicker, so any number of processes may do this at once. What needs two partitions is
done in steps, each of which leaves something that harms nobody:

    create   numbers reserved · mailboxes made (nobody knows them yet) · address entered
    remove   address taken out, `r` entered · head deleted (from here a delivery fails
             and is kept in the queue) · everything else, page by page · `r` deleted

`finish_removals` takes up, at start, what a crash has left of the second.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

from fastsmtp.errors import Conflict
from fastsmtp.mailbox.mailbox import INBOX, Box, Edit
from fastsmtp.mailbox.values import (
    AccountHead,
    Change,
    Email,
    Mailbox,
    What,
    decode_email,
    decode_mailbox,
    encode,
    references,
)
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Store

MAILBOXES: Final = (
    ("INBOX", "inbox"),
    ("Drafts", "drafts"),
    ("Sent", "sent"),
    ("Junk", "junk"),
    ("Trash", "trash"),
    ("Archive", "archive"),
)
"""Names and roles (RFC 6154, RFC 8621) of the mailboxes of a new account."""

Emails = Iterable[tuple[bytes, Email]]
"""Email ids as they are stored, and what stands there."""

PAGE: Final = 500  # entries in one scan or one commit


class AccountExists(Exception):
    """The address has an account already."""


class NoAccount(Exception):
    """Nobody has this address."""


async def reserve(store: Store, name: str, count: int, least: int = 1) -> int:
    """The first of `count` numbers of a directory's counter; none is given twice."""
    key = keys.counter(name)
    while True:
        before = await store.get(keys.DIRECTORY, key)
        first = least if before is None else int.from_bytes(before, "big")
        try:
            await store.commit(
                keys.DIRECTORY,
                checks=[Check(key, before)],
                puts=[(key, keys.u64(first + count))],
            )
        except Conflict:
            continue
        return first


async def create(store: Store, address: str, value: Callable[[int], bytes]) -> int:
    """Make an account with its mailboxes; gives its id.

    value    encodes the account, once its id is known
    Raises `AccountExists`; then nothing that anybody sees has changed."""
    entry = keys.account(address)
    if await store.get(keys.DIRECTORY, entry) is not None:
        raise AccountExists(address)
    part = await reserve(store, "account", 1, keys.FIRST_ACCOUNT)
    validity = await reserve(store, "uidvalidity", len(MAILBOXES))
    await store.commit(
        part, checks=[Check(keys.HEAD, None)], puts=_mailboxes_from(validity)
    )
    try:
        await _enter(store, [Check(entry, None)], [(entry, value(part))])
    except Conflict:
        await _clear(store, part)
        raise AccountExists(address) from None
    return part


def _mailboxes_from(validity: int) -> list[tuple[bytes, bytes]]:
    puts = []
    for id, (name, role) in enumerate(MAILBOXES, INBOX):
        mailbox = Mailbox(
            name, validity + id - INBOX, role=role, modseq=id, created=id, sort_order=id
        )
        change = Change(int(What.MAILBOX_MADE), mailbox=id)
        puts.append((keys.mailbox(id), encode(mailbox)))
        puts.append((keys.change(id), encode(change)))
    head = AccountHead(modseq=len(MAILBOXES), next_mailbox=INBOX + len(MAILBOXES))
    puts.append((keys.HEAD, encode(head)))
    return puts


async def _enter(
    store: Store,
    checks: Sequence[Check],
    puts: Sequence[tuple[bytes, bytes]] = (),
    deletes: Sequence[bytes] = (),
) -> None:
    """Change the directory, and its version with it. `Conflict` if a check fails."""
    key = keys.DIRECTORY_VERSION
    while True:
        before = await store.get(keys.DIRECTORY, key)
        version = keys.u64(int.from_bytes(before or b"", "big") + 1)
        try:
            await store.commit(
                keys.DIRECTORY,
                checks=[*checks, Check(key, before)],
                puts=[*puts, (key, version)],
                deletes=deletes,
            )
        except Conflict:
            now = [await store.get(keys.DIRECTORY, check.key) for check in checks]
            if now != [check.value for check in checks]:
                raise
            continue
        return


async def replace(store: Store, address: str, value: Callable[[bytes], bytes]) -> None:
    """Change the account's entry (a new password); `value` makes new of old.

    Raises `NoAccount`."""
    entry = keys.account(address)
    while True:
        before = await store.get(keys.DIRECTORY, entry)
        if before is None:
            raise NoAccount(address)
        try:
            await _enter(store, [Check(entry, before)], [(entry, value(before))])
        except Conflict:
            continue
        return


async def remove(store: Store, address: str, part: Callable[[bytes], int]) -> None:
    """Remove an account and its mail. `part` tells the id from the account's entry.

    Raises `NoAccount`."""
    entry = keys.account(address)
    while True:
        before = await store.get(keys.DIRECTORY, entry)
        if before is None:
            raise NoAccount(address)
        begun = keys.removal(part(before))
        try:
            await _enter(store, [Check(entry, before)], [(begun, b"")], [entry])
        except Conflict:
            continue
        break
    await _finish(store, part(before))


async def finish_removals(store: Store) -> int:
    """Take up removals that a crash interrupted; how many."""
    begun = await store.scan(keys.DIRECTORY, b"r", keys.after(b"r"), PAGE)
    for key, _ in begun:
        await _finish(store, int.from_bytes(key[1:], "big"))
    return len(begun)


async def _finish(store: Store, part: int) -> None:
    await _clear(store, part)
    await store.commit(keys.DIRECTORY, deletes=[keys.removal(part)])


async def _clear(store: Store, part: int) -> None:
    """Delete a whole partition, the head first: everyone else checks the head, so from
    then on nobody writes here but removers, and the check makes these take turns."""
    await store.commit(part, deletes=[keys.HEAD])
    while found := await store.scan(part, b"", b"\xff", PAGE):
        edit = Edit(deletes=[key for key, _ in found])
        for key, value in found:
            for blob in references(part, key, value):
                edit.refer(blob, -1)
        try:
            await store.commit(
                part,
                checks=[Check(*found[0]), Check(keys.HEAD, None)],
                deletes=edit.deletes,
                refs=edit.refs,
            )
        except Conflict:
            continue


async def accounts(store: Store) -> AsyncIterator[tuple[str, bytes]]:
    """Every account's address in lower case and entry, in order of the address."""
    at, end = b"a", keys.after(b"a")
    while found := await store.scan(keys.DIRECTORY, at, end, PAGE):
        for key, value in found:
            yield key[1:].decode(), value
        at = found[-1][0] + b"\x00"


async def mailboxes(store: Store, part: int) -> list[tuple[int, Mailbox]]:
    """All mailboxes of an account by id."""
    result: list[tuple[int, Mailbox]] = []
    at, end = b"b", keys.after(b"b")
    while found := await store.scan(part, at, end, PAGE):
        for key, value in found:
            result.append((int.from_bytes(key[1:], "big"), decode_mailbox(value)))
        at = found[-1][0] + b"\x00"
    return result


async def emails(
    store: Store, part: int, mailbox: int, after: int = 0, limit: int = PAGE
) -> list[tuple[int, int, Email]]:
    """Up to `limit` of (UID, email id, email) with UIDs above `after`, ascending.

    An email that goes while this reads is left out; an empty page is the end."""
    lo = keys.uid(mailbox, after + 1)
    while True:
        found = await store.scan(
            part, lo, keys.after(keys.mailbox_uids(mailbox)), limit
        )
        page = []
        for key, value in found:
            number = int.from_bytes(value, "big")
            data = await store.get(part, keys.email(number))
            if data is not None:
                page.append(
                    (int.from_bytes(key[5:], "big"), number, decode_email(data))
                )
        if page or not found:
            return page
        lo = found[-1][0] + b"\x00"


async def open_box(store: Store, part: int, mailbox: int) -> Box:
    """Head and mailbox as they are now. `KeyError` when there is none."""
    head = await store.get(part, keys.HEAD)
    return Box(part, mailbox, head, await store.get(part, keys.mailbox(mailbox)))


async def expunge(
    store: Store,
    part: int,
    mailbox: int,
    uids: Iterable[int],
    *,
    at_once: bool = False,
    weary: Callable[[], bool] = lambda: False,
) -> int:
    """Take these out of the mailbox; how many were there.

    at_once  in one commit, all or none; else in pages
    weary    asked when somebody else was quicker; True: raise `Conflict`, and the page
             that was tried is still there, whole"""
    wanted = list(uids)
    count = 0
    page = max(1, len(wanted)) if at_once else PAGE
    for first in range(0, len(wanted), page):
        some = wanted[first : first + page]
        count += await _change(store, part, mailbox, some, Box.expunge_each, weary)
    return count


async def flag(
    store: Store,
    part: int,
    mailbox: int,
    uid: int,
    change: Callable[[int, tuple[str, ...], bool], tuple[int, tuple[str, ...], bool]],
) -> None:
    """Change the flags of one email; `change` makes new (flags, keywords, deleted) of
    the old. `KeyError` when the mailbox has no such UID."""

    def apply(box: Box, edit: Edit, emails: Emails) -> int:
        count = 0
        for number, email in emails:
            new = change(email.flags, email.keywords, mailbox in email.deleted)
            box.flag(edit, int.from_bytes(number, "big"), email, *new)
            count += 1
        return count

    if not await _change(store, part, mailbox, [uid], apply):
        raise KeyError(uid)


async def _change(
    store: Store,
    part: int,
    mailbox: int,
    uids: Sequence[int],
    apply: Callable[[Box, Edit, Emails], int],
    weary: Callable[[], bool] = lambda: False,
) -> int:
    """Do `apply` to these emails of a mailbox in one commit; how many were there."""
    while True:
        box, edit = await open_box(store, part, mailbox), Edit()
        filed = await store.get_each(part, [keys.uid(mailbox, uid) for uid in uids])
        there = [value for value in filed if value is not None]
        emails = await store.get_each(part, [b"e" + value for value in there])
        count = apply(
            box,
            edit,
            (
                (value, decode_email(data))
                for value, data in zip(there, emails, strict=True)
                if data is not None  # else expunged since; the checks will tell
            ),
        )
        if not count:
            return 0
        checks = box.checks()
        box.write(edit)
        try:
            await store.commit(
                part,
                checks=checks,
                puts=edit.puts,
                deletes=edit.deletes,
                refs=edit.refs,
            )
        except Conflict:
            if weary():
                raise
            continue
        return count
