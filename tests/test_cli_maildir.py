"""Maildir: what is written is read again, with flags and dates."""

import os
from pathlib import Path

import pytest

from fastsmtp.cli import maildir
from fastsmtp.cli.letter import Letter
from fastsmtp.mailbox.values import Flag

KEPT = Flag.SEEN | Flag.ANSWERED | Flag.FLAGGED | Flag.DRAFT | Flag.FORWARDED


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    letters = [
        Letter(b"Subject: 1\r\n\r\nFrom me\r\n", 1_700_000_000_123, int(KEPT), True),
        Letter(b"Subject: 2\r\n\r\n\r\n", 1_600_000_000_000),
        Letter(b"\x00\xff\r\r\n", 0, int(Flag.SEEN)),
    ]
    writer = maildir.Writer(tmp_path / "box", 1_795_493_520)
    for number, letter in enumerate(letters, 9):
        cut = [letter.body[i : i + 3] for i in range(0, len(letter.body), 3)]
        writer.write(number, letter, cut)
    assert sorted(os.listdir(tmp_path / "box")) == ["cur", "new", "tmp"]
    assert os.listdir(tmp_path / "box/tmp") == []
    found = list(maildir.read(maildir.names(tmp_path / "box")))
    assert found[:2] == letters[:2]
    assert found[2].flags == Flag.SEEN
    names = [path.name for path in maildir.names(tmp_path / "box")]
    assert names[0].endswith(":2,DFPRST")
    assert names[0].startswith("1795493520.P")
    assert names[1].endswith(":2,")
    assert (tmp_path / "box/cur" / names[0]).read_bytes() == b"Subject: 1\n\nFrom me\n"


def test_a_maildir_of_others(tmp_path: Path) -> None:
    for name in maildir.FOLDERS:
        (tmp_path / name).mkdir()
    (tmp_path / "new/1700000002.x").write_bytes(b"b\nno end")
    (tmp_path / "cur/1700000001.x:2,Sa").write_bytes(b"a\r\n")
    (tmp_path / "cur/odd").write_bytes(b"c\n")
    (tmp_path / "cur/.hidden").write_bytes(b"")
    (tmp_path / "tmp/1700000000.x").write_bytes(b"not yet")
    found = list(maildir.read(maildir.names(tmp_path)))
    assert [letter.body for letter in found] == [b"c\r\n", b"a\r\n", b"b\r\nno end\r\n"]
    assert [letter.flags for letter in found] == [0, Flag.SEEN, 0]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder cur"):
        maildir.names(tmp_path)
