from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.errors import Damaged
from fastsmtp.mailbox.mailbox import INBOX, Box, Edit, Mail
from fastsmtp.mailbox.values import (
    AccountHead,
    Change,
    Email,
    Flag,
    Mailbox,
    What,
    decode_change,
    decode_email,
    decode_head,
    decode_mailbox,
    encode,
)
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Put

PART = 256


@dataclass
class Part:
    """A partition with one mailbox, written to as a store would."""

    values: dict[bytes, bytes] = field(
        default_factory=lambda: {
            keys.HEAD: encode(AccountHead()),
            keys.mailbox(INBOX): encode(Mailbox("INBOX", 9)),
        }
    )

    def box(self) -> Box:
        return Box(
            PART, INBOX, self.values[keys.HEAD], self.values[keys.mailbox(INBOX)]
        )

    def write(self, edit: Edit) -> None:
        for key in edit.deletes:
            del self.values[key]
        self.values.update(edit.puts)

    def add(self, mail: Mail) -> int:
        box = self.box()
        uid = box.mailbox.uidnext
        self.put(box.add(mail))
        return uid

    def put(self, puts: list[Put]) -> None:
        assert {part for part, _, _ in puts} == {PART}
        self.values.update((key, value) for _, key, value in puts)

    def email(self, number: int) -> Email:
        return decode_email(self.values[keys.email(number)])

    def change(self, modseq: int) -> Change:
        return decode_change(self.values[keys.change(modseq)])

    @property
    def head(self) -> AccountHead:
        return decode_head(self.values[keys.HEAD])

    @property
    def mailbox(self) -> Mailbox:
        return decode_mailbox(self.values[keys.mailbox(INBOX)])


def test_an_added_email_is_everywhere_it_must_be() -> None:
    part = Part()
    assert part.add(Mail(70, 100, 17)) == 1
    assert part.add(Mail(71, 50, 18, int(Flag.SEEN), ("$a",), 2)) == 2
    assert part.email(1) == Email(70, 100, 17, 0, 1, 1, {INBOX: 1})
    assert part.email(2) == Email(71, 50, 18, 1, 2, 2, {INBOX: 2}, ("$a",), 2)
    assert part.values[keys.uid(INBOX, 2)] == keys.u64(2)
    assert keys.change(2) not in part.values  # that it is new, `created` says
    assert part.head == AccountHead(2, 3, 1, 150, 2)
    assert part.mailbox == Mailbox("INBOX", 9, 3, 2, 2, 1, 1, 0, 150)


def test_a_draft_is_unseen_but_not_unread() -> None:
    part = Part()
    part.add(Mail(70, 1, 0, int(Flag.DRAFT)))
    assert (part.mailbox.unseen, part.mailbox.unread) == (1, 0)


def test_a_box_adds_one_after_another() -> None:
    part = Part()
    box = part.box()
    for n in range(3):
        part.put(box.add(Mail(n, 10, 0)))
    assert part.head.messages == part.mailbox.messages == 3
    assert part.values[keys.HEAD] == box.head_bytes
    assert part.values[keys.mailbox(INBOX)] == box.mailbox_bytes


def test_checks_are_of_what_was_read() -> None:
    part = Part()
    before = part.values.copy()
    box = part.box()
    box.add(Mail(1, 1, 1))
    assert box.checks() == (
        Check(keys.HEAD, before[keys.HEAD]),
        Check(keys.mailbox(INBOX), before[keys.mailbox(INBOX)]),
    )


def test_an_expunged_email_gives_up_its_body() -> None:
    part, edit = Part(), Edit()
    part.add(Mail(70, 100, 17))
    part.add(Mail(70, 100, 17))
    box = part.box()
    box.expunge(edit, 1, part.email(1))
    box.write(edit)
    part.write(edit)
    assert edit.refs == {70: -1}
    assert keys.email(1) not in part.values
    assert keys.uid(INBOX, 1) not in part.values
    assert part.change(3) == Change(What.GONE, 1, INBOX, 1)
    assert (part.head.messages, part.head.octets) == (1, 100)
    assert (part.mailbox.messages, part.mailbox.unseen) == (1, 1)
    assert part.add(Mail(71, 1, 17)) == 3  # UIDs are never given again


def test_an_email_filed_twice_only_leaves_the_mailbox() -> None:
    part, edit = Part(), Edit()
    part.add(Mail(70, 100, 17))
    twice = Email(70, 100, 17, 0, 1, 1, {INBOX: 1, 5: 8}, deleted=(INBOX, 5))
    box = part.box()
    box.mailbox.deleted = 1
    box.expunge(edit, 1, twice)
    box.write(edit)
    part.write(edit)
    assert edit.refs == {}
    assert part.email(1) == Email(70, 100, 17, 0, 2, 1, {5: 8}, deleted=(5,))
    assert part.change(2) == Change(What.UNFILED, 1, INBOX, 1)
    assert part.head.messages == 1
    assert (part.mailbox.messages, part.mailbox.deleted) == (0, 0)


def test_flags_move_the_counts() -> None:
    part = Part()
    part.add(Mail(70, 100, 17))
    box, edit = part.box(), Edit()
    box.flag(edit, 1, part.email(1), int(Flag.SEEN | Flag.FLAGGED), ("$k",), True)
    box.write(edit)
    part.write(edit)
    assert part.email(1) == Email(
        70, 100, 17, 5, 2, 1, {INBOX: 1}, ("$k",), 0, (INBOX,)
    )
    assert part.change(2) == Change(What.FLAGGED, 1, INBOX, 1)
    assert part.mailbox == Mailbox("INBOX", 9, 2, 2, 1, 0, 0, 1, 100)


def test_an_email_of_elsewhere_is_damage() -> None:
    part = Part()
    elsewhere = Email(70, 1, 1, 0, 1, 1, {5: 1})
    with pytest.raises(Damaged):
        part.box().expunge(Edit(), 1, elsewhere)
    with pytest.raises(Damaged):
        part.box().flag(Edit(), 1, elsewhere, 0, (), False)


def test_what_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Box(PART, INBOX, None, encode(Mailbox("INBOX", 1)))
    with pytest.raises(KeyError):
        Box(PART, 7, encode(AccountHead()), None)
    with pytest.raises(Damaged):
        Box(PART, INBOX, b"\xc1", encode(Mailbox("INBOX", 1)))


_steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "flag", "expunge"]),
        st.integers(0, 20),
        st.integers(0, 15),
        st.booleans(),
    )
)


@given(_steps)
def test_counts_are_those_of_the_emails(
    steps: list[tuple[str, int, int, bool]],
) -> None:
    part, last = Part(), 0
    for step, n, flags, deleted in steps:
        if step == "add":
            part.add(Mail(n, n, n, flags))
        elif keys.email(n) in part.values:
            box, edit = part.box(), Edit()
            if step == "flag":
                box.flag(edit, n, part.email(n), flags, (), deleted)
            else:
                box.expunge(edit, n, part.email(n))
            box.write(edit)
            part.write(edit)
        else:
            continue
        assert part.head.modseq == part.mailbox.modseq == last + 1
        assert (keys.change(last + 1) in part.values) == (step != "add")
        last += 1
    there = [decode_email(v) for k, v in part.values.items() if k[:1] == b"e"]
    mailbox, head = part.mailbox, part.head
    assert head.messages == mailbox.messages == len(there)
    assert head.octets == mailbox.octets == sum(e.size for e in there)
    assert mailbox.unseen == sum(not e.flags & Flag.SEEN for e in there)
    assert mailbox.unread == sum(not e.flags & (Flag.SEEN | Flag.DRAFT) for e in there)
    assert mailbox.deleted == sum(bool(e.deleted) for e in there)
    uids = sum(k[:1] == b"u" for k in part.values)
    assert uids == len(there)


_emails = st.lists(
    st.builds(
        lambda size, flags, twice, gone: Email(
            *(size, size, 17, flags, 1, 1, {INBOX: 1, 5: 8} if twice else {INBOX: 1}),
            deleted=(INBOX,) if gone else (),
        ),
        *(st.integers(0, 9), st.integers(0, 15), st.booleans(), st.booleans()),
    ),
    max_size=6,
)


@given(_emails)
def test_many_are_expunged_as_one_by_one(emails: list[Email]) -> None:
    """But for the order of modseqs: those that stand elsewhere, too, come last."""
    emails.sort(key=lambda email: len(email.places))
    part = Part()
    one, each = part.box(), part.box()
    edit, wanted = Edit(), Edit()
    for number, email in enumerate(emails, 1):
        one.expunge(wanted, number, email)
    numbered = [(n.to_bytes(8, "big"), email) for n, email in enumerate(emails, 1)]
    assert each.expunge_each(edit, numbered) == len(emails)
    assert (edit.refs, edit.puts) == (wanted.refs, wanted.puts)
    assert sorted(edit.deletes) == sorted(wanted.deletes)
    assert (each.head, each.mailbox) == (one.head, one.mailbox)
