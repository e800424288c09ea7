"""Changes to one mailbox, as pure functions of the stored values.

A `Box` is an account's head and one of its mailboxes as they stand at some moment, with
the bytes they were read from. Its methods change the working copy and return what must
be written for it; `checks` makes a commit fail (and the caller read again) if somebody
else was quicker. The same code runs inside the keeper's transaction, where nobody can
be: there the checks are left out.

Laws: every change takes a modseq of its own; UIDs and email ids are never given twice;
the counts of `Mailbox` and `AccountHead` are those of the emails that stand there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from fastsmtp.errors import Damaged
from fastsmtp.mailbox.values import (
    AccountHead,
    Change,
    Email,
    Flag,
    Mailbox,
    What,
    decode_head,
    decode_mailbox,
    encode,
)
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Put

INBOX: Final = 1
"""Every account's first mailbox."""

_SEEN: Final = int(Flag.SEEN)
_READ: Final = int(Flag.SEEN | Flag.DRAFT)
_HEAD: Final = keys.HEAD
_UNFILED: Final = int(
    What.UNFILED
)  # taken out of the enum once: it costs a microsecond
_GONE: Final = int(What.GONE)


class Mail(Struct, frozen=True, gc=False):
    """An email to be; see `fastsmtp.mailbox.values.Email` for what the fields mean."""

    blob: int
    size: int
    date: int
    flags: int = 0
    keywords: tuple[str, ...] = ()
    offset: int = 0
    deleted: bool = False


@dataclass(slots=True)
class Edit:
    """What a change writes, beside the head and the mailbox themselves."""

    puts: list[tuple[bytes, bytes]] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    refs: dict[int, int] = field(default_factory=dict)

    def refer(self, blob: int, by: int) -> None:
        self.refs[blob] = self.refs.get(blob, 0) + by


class Box:
    """The working copy; see the head of this file.

    head_bytes, mailbox_bytes   what the values were decoded from: after a change, what
                                they are encoded to
    """

    __slots__ = (
        *("head", "head_bytes", "id", "key", "mailbox", "mailbox_bytes", "part"),
        *("_read_head", "_read_mailbox", "_uids"),
    )

    def __init__(
        self, part: int, id: int, head: bytes | None, mailbox: bytes | None
    ) -> None:
        """Decodes; raises `Damaged` when a value is, and `KeyError` when it is not."""
        if head is None or mailbox is None:
            raise KeyError(f"account {part} has no mailbox {id}")
        self.part = part
        self.id = id
        self.key = keys.mailbox(id)
        self._uids = keys.mailbox_uids(id)
        self.head: AccountHead = decode_head(head)
        self.mailbox: Mailbox = decode_mailbox(mailbox)
        self.head_bytes = self._read_head = head
        self.mailbox_bytes = self._read_mailbox = mailbox

    def checks(self) -> tuple[Check, Check]:
        """That head and mailbox are still as they were read."""
        return (
            Check(keys.HEAD, self._read_head),
            Check(self.key, self._read_mailbox),
        )

    def add(self, mail: Mail) -> list[Put]:
        """File a new email; gives all that is to be put. Its UID is the mailbox's
        `uidnext` before.

        One reference to `mail.blob` more. Runs once for each recipient of each message,
        so it reads like a list: no call that can be spared."""
        head, mailbox, id, part = self.head, self.mailbox, self.id, self.part
        size, flags = mail.size, mail.flags
        modseq = head.modseq + 1
        number, uid = head.next_email, mailbox.uidnext
        head.modseq = mailbox.modseq = modseq
        head.next_email = number + 1
        head.messages += 1
        head.octets += size
        mailbox.uidnext = uid + 1
        mailbox.messages += 1
        mailbox.octets += size
        if not flags & _SEEN:
            mailbox.unseen += 1
            mailbox.unread += not flags & _READ
        deleted: tuple[int, ...] = ()
        if mail.deleted:
            deleted = (id,)
            mailbox.deleted += 1
        email = Email(
            *(mail.blob, size, mail.date, flags, modseq, modseq, {id: uid}),
            *(mail.keywords, mail.offset, deleted),
        )
        self.head_bytes = head_bytes = encode(head)
        self.mailbox_bytes = mailbox_bytes = encode(mailbox)
        key = number.to_bytes(8, "big")
        return [
            (part, b"e" + key, encode(email)),
            (part, self._uids + uid.to_bytes(4, "big"), key),
            (part, _HEAD, head_bytes),
            (part, self.key, mailbox_bytes),
        ]

    def grow(self, emails: int, octets: int) -> list[Put]:
        """What `add` of so many emails without flags makes of head and mailbox, each
        with a modseq, an id and a UID of its own, one above the other."""
        head, mailbox = self.head, self.mailbox
        head.modseq = mailbox.modseq = head.modseq + emails
        head.next_email += emails
        head.messages += emails
        head.octets += octets
        mailbox.uidnext += emails
        mailbox.messages += emails
        mailbox.octets += octets
        mailbox.unseen += emails
        mailbox.unread += emails
        self.head_bytes = head_bytes = encode(head)
        self.mailbox_bytes = mailbox_bytes = encode(mailbox)
        return [(self.part, _HEAD, head_bytes), (self.part, self.key, mailbox_bytes)]

    def expunge(self, edit: Edit, number: int, email: Email) -> None:
        """Take an email out of this mailbox; in no other, it is gone and gives up its
        reference. Ends with `write`."""
        uid = email.places.get(self.id)
        if uid is None:
            raise Damaged(f"email {number} is not in mailbox {self.id}")
        modseq = self._changed()
        edit.deletes.append(self._uids + uid.to_bytes(4, "big"))
        if len(email.places) > 1:
            places = {box: at for box, at in email.places.items() if box != self.id}
            what = _UNFILED
            deleted = tuple(box for box in email.deleted if box != self.id)
            kept = replace(email, modseq=modseq, places=places, deleted=deleted)
            edit.puts.append((keys.email(number), encode(kept)))
        else:
            what = _GONE
            edit.deletes.append(keys.email(number))
            edit.refer(email.blob, -1)
            self.head.messages -= 1
            self.head.octets -= email.size
        change = Change(what, number, self.id, uid)
        edit.puts.append((keys.change(modseq), encode(change)))
        self._count(email, -1)

    def expunge_each(self, edit: Edit, emails: Iterable[tuple[bytes, Email]]) -> int:
        """`expunge` of many, by their email ids as they are stored; how many it were.

        One that stands here alone is taken out step by step in here: a thousand of
        them go when somebody empties a mailbox, and a reader waits for it."""
        head, mailbox, id, uids = self.head, self.mailbox, self.id, self._uids
        deletes, puts, refs = edit.deletes, edit.puts, edit.refs
        gone = octets = unseen = unread = deleted = 0
        others = []
        modseq = head.modseq
        for key, email in emails:
            places = email.places
            if len(places) > 1 or id not in places:
                others.append((key, email))
                continue
            modseq += 1
            uid = places[id]
            deletes.append(uids + uid.to_bytes(4, "big"))
            deletes.append(b"e" + key)
            change = Change(_GONE, int.from_bytes(key, "big"), id, uid)
            puts.append((b"c" + modseq.to_bytes(8, "big"), encode(change)))
            refs[email.blob] = refs.get(email.blob, 0) - 1
            gone += 1
            octets += email.size
            unseen += not email.flags & _SEEN
            unread += not email.flags & _READ
            deleted += id in email.deleted
        if gone:
            head.modseq = mailbox.modseq = modseq
            head.messages -= gone
            head.octets -= octets
            mailbox.messages -= gone
            mailbox.octets -= octets
            mailbox.unseen -= unseen
            mailbox.unread -= unread
            mailbox.deleted -= deleted
        for key, email in others:
            self.expunge(edit, int.from_bytes(key, "big"), email)
        return gone + len(others)

    def flag(
        self,
        edit: Edit,
        number: int,
        email: Email,
        flags: int,
        keywords: tuple[str, ...],
        deleted: bool,
    ) -> None:
        """Give an email that stands in this mailbox alone these flags, and no others.

        One that stands in several has counts in each: that is the work of whoever
        makes such emails."""
        if email.places.keys() != {self.id}:
            raise Damaged(f"email {number} stands in more than mailbox {self.id}")
        modseq = self._changed()
        new = replace(
            email,
            modseq=modseq,
            flags=flags,
            keywords=keywords,
            deleted=(self.id,) if deleted else (),
        )
        change = Change(int(What.FLAGGED), number, self.id, email.places[self.id])
        edit.puts.append((keys.email(number), encode(new)))
        edit.puts.append((keys.change(modseq), encode(change)))
        self._count(email, -1)
        self._count(new, 1)

    def write(self, edit: Edit) -> None:
        """Put the head and the mailbox as they are now: the last step of an edit."""
        self.head_bytes = encode(self.head)
        self.mailbox_bytes = encode(self.mailbox)
        edit.puts.append((keys.HEAD, self.head_bytes))
        edit.puts.append((self.key, self.mailbox_bytes))

    def _changed(self) -> int:
        self.head.modseq = self.mailbox.modseq = modseq = self.head.modseq + 1
        return modseq

    def _count(self, email: Email, by: int) -> None:
        """Let the mailbox's counts follow an email that comes (1) or goes (-1)."""
        mailbox = self.mailbox
        mailbox.messages += by
        mailbox.octets += by * email.size
        mailbox.unseen += by * (not email.flags & _SEEN)
        mailbox.unread += by * (not email.flags & _READ)
        mailbox.deleted += by * (self.id in email.deleted)
