"""The verbs that work on a store, each as one would type it, without a server."""

import asyncio
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from smallstore import cheapen_passwords, configured

from fastsmtp.auth.accounts import decode_account
from fastsmtp.auth.passwords import verify_password
from fastsmtp.cli import access, main
from fastsmtp.cli.letter import Letter
from fastsmtp.cli.mbox import read
from fastsmtp.config import load
from fastsmtp.mailbox.values import Flag
from fastsmtp.queue.message import Envelope, Recipient, encode_envelope, queue_id
from fastsmtp.store import keys
from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb import LmdbStore, lock

ALICE = "alice@example.test"
Output = pytest.CaptureFixture[str]
TypeIn = Callable[[bytes], None]

MBOX = b"""\
From s@far.test Tue Nov 24 04:12:00 2026
Status: RO
X-Status: AFD
X-Keywords: blue $Junk
Return-Path: <s@far.test>
From: =?utf-8?q?J=C3=B6rg?= <j@far.test>
Subject: hello
 again

>From me
bye

From b@far.test Tue Nov 24 04:13:00 2026
Subject: =?x-unknown?q?two?=

\x1b[2J

"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cheapen_passwords(monkeypatch)
    return configured(tmp_path)


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> TypeIn:
    def give(data: bytes) -> None:
        stdin = io.TextIOWrapper(io.BytesIO(data))
        monkeypatch.setattr(sys, "stdin", stdin)

    return give


def do(file: Path, *words: str) -> int:
    return main([*words, "-c", str(file)])


def add(file: Path, *addresses: str) -> None:
    for address in addresses:
        assert do(file, "user", "add", address, "--generate") == 0


def rows(file: Path, output: Output, *words: str) -> list[dict[str, object]]:
    output.readouterr()
    assert do(file, *words, "--json") == 0
    return [json.loads(line) for line in output.readouterr().out.splitlines()]


def stored(file: Path, address: str) -> bytes:
    config = load(file, {})
    store = LmdbStore.read(config.data, config.store)
    try:
        entry = store.peek(keys.DIRECTORY, keys.account(address))
        assert entry is not None
        return entry
    finally:
        store.index.close()


def test_accounts_come_and_go(file: Path, capsys: Output, type_in: TypeIn) -> None:
    type_in(b"pencil\n")
    assert do(file, "user", "add", "Alice@Example.test", "--password-stdin") == 0
    account = decode_account(stored(file, ALICE))
    assert verify_password(account.password, "pencil")
    assert account.scram is not None
    (row,) = rows(file, capsys, "user", "list")
    assert row["address"] == "Alice@Example.test"
    assert (row["messages"], row["password"]) == (0, True)
    assert str(row["created"]).endswith("Z")

    type_in(b"crayon\n")
    assert do(file, "user", "passwd", ALICE, "--password-stdin") == 0
    changed = decode_account(stored(file, ALICE))
    assert verify_password(changed.password, "crayon")
    assert changed.id == account.id
    assert changed.scram != account.scram

    capsys.readouterr()
    assert do(file, "user", "list") == 0
    assert "Alice@Example.test" in capsys.readouterr().out
    assert do(file, "user", "remove", ALICE, "--yes") == 0
    assert "removed with 0 messages" in capsys.readouterr().out
    assert rows(file, capsys, "user", "list") == []


def test_a_generated_password_is_printed_and_works(file: Path, capsys: Output) -> None:
    assert do(file, "user", "add", ALICE, "--generate") == 0
    printed = capsys.readouterr().out.split("password: ")[1].strip()
    assert verify_password(decode_account(stored(file, ALICE)).password, printed)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["user", "add", "alice", "--generate"], 2, "has no @domain"),
        (["user", "add", "a@far.test", "--generate"], 1, "not a domain of this server"),
        (["user", "add", "alice@EXAMPLE.test", "--generate"], 1, "an account already"),
        (["user", "passwd", "b@example.test", "--generate"], 1, "has no account"),
        (["user", "remove", "b@example.test", "--yes"], 1, "has no account"),
        (["user", "remove", ALICE], 2, "say --yes"),
        (["user", "add", "b@example.test"], 2, "--password-stdin"),
        (["mail", "list", "b@example.test"], 1, "has no account"),
        (["mail", "list", ALICE, "--mailbox", "Nope"], 1, "there are INBOX, Drafts"),
        (["mail", "list", ALICE, "--limit", "-5"], 2, "is not a number above 0"),
        (["why", ALICE, "--limit", "0"], 2, "is not a number above 0"),
        (["drain", "--wait", "-1"], 2, "--wait -1 is no number of seconds"),
        (["queue", "suspend", "not a domain"], 2, "parts are letters, digits"),
        (["mail", "show", ALICE, "7"], 1, "has no message 7 in INBOX"),
        (["mail", "show", ALICE, "99999999999"], 1, "has no message"),
        (["mail", "import", ALICE, "absent"], 1, "absent: No such file"),
        (["mail", "import", ALICE, "."], 1, "not a Maildir"),
        (["mail", "import", ALICE, "fastsmtp.toml"], 1, "not an mbox file"),
        (["mail", "export", ALICE, "fastsmtp.toml"], 1, "exists; nothing was written"),
        (["queue", "show", "nonsense"], 2, "is not a queue id"),
        (["queue", "show", "0000000000000"], 1, "is not in the queue"),
        (["queue", "list", "--older", "soon"], 2, "is not a duration"),
        (["queue", "list", "--older", "5 m"], 2, 'unit "m"; there are ms, s,'),
        (["backup", "."], 1, "is not empty"),
    ],
)
def test_trouble_is_said_in_words(
    file: Path,
    capsys: Output,
    type_in: TypeIn,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(file.parent)
    add(file, ALICE)
    type_in(b"")
    capsys.readouterr()
    assert do(file, *words) == code
    assert text in capsys.readouterr().err


def test_an_account_behind_an_alias_is_pointed_out(file: Path, capsys: Output) -> None:
    aliases = (
        'aliases = { Bob = ["alice@example.test"], alice = ["Alice@example.test"] }'
    )
    file.write_text(f"{file.read_text()}{aliases}\n")
    add(file, ALICE)
    assert capsys.readouterr().err == ""
    add(file, "bob@example.test")
    assert "goes where the alias of this name leads" in capsys.readouterr().err


def test_a_weak_password_is_refused(
    file: Path, capsys: Output, type_in: TypeIn
) -> None:
    type_in(b"\n")
    assert do(file, "user", "add", ALICE, "--password-stdin") == 2
    assert "the password is empty" in capsys.readouterr().err


def test_without_a_data_folder(file: Path, capsys: Output) -> None:
    (file.parent / "data").rmdir()
    for words in (["user", "list"], ["user", "add", ALICE, "--generate"]):
        assert do(file, *words) == 1
        assert "is not there\n    mkdir -m 700" in capsys.readouterr().err


def test_list_and_show(
    file: Path, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    add(file, ALICE)
    (tmp_path / "in.mbox").write_bytes(MBOX)
    assert do(file, "mail", "import", ALICE, str(tmp_path / "in.mbox")) == 0
    assert b"2 messages imported into INBOX" in capsysbinary.readouterr().out
    assert do(file, "mail", "list", ALICE, "--json") == 0
    first, second = map(json.loads, capsysbinary.readouterr().out.splitlines())
    assert first == {
        "uid": 1,
        "date": "2026-11-24T04:12:00Z",
        "size": first["size"],
        "flags": ["\\Seen", "\\Answered", "\\Flagged", "$Junk", "\\Deleted", "blue"],
        "from": "Jörg <j@far.test>",
        "subject": "hello again",
    }
    assert (second["uid"], second["flags"]) == (2, [])
    assert second["subject"] == "=?x-unknown?q?two?="
    assert do(file, "mail", "list", ALICE, "--limit", "1", "--json") == 0
    assert json.loads(capsysbinary.readouterr().out)["uid"] == 2
    assert do(file, "mail", "list", ALICE) == 0
    table = capsysbinary.readouterr().out.decode()
    assert "hello again" in table
    assert do(file, "mail", "show", ALICE, "2") == 0
    shown = capsysbinary.readouterr().out
    assert shown == b"Subject: =?x-unknown?q?two?=\r\n\r\n\x1b[2J\r\n"
    assert do(file, "mail", "list", ALICE, "--mailbox", "Sent") == 0
    assert capsysbinary.readouterr().out == b"no messages\n"


def test_to_a_terminal_mail_is_shown_as_text(
    file: Path, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(file, ALICE)
    (tmp_path / "in.mbox").write_bytes(MBOX)
    assert do(file, "mail", "import", ALICE, str(tmp_path / "in.mbox")) == 0
    capsys.readouterr()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert do(file, "mail", "show", ALICE, "2") == 0
    assert capsys.readouterr().out.endswith("\n\n\ufffd[2J\n")


LETTERS = [
    Letter(
        b"Return-Path: <s@far.test>\r\nStatus: RO\r\n\r\nFrom x\r\n\r\n",
        1_795_493_520_000,
        int(Flag.SEEN | Flag.DRAFT),
        True,
    ),
    Letter(b"A: b\r\n\r\n" + b"\xff\x00" * 300_000 + b"\r\n", 1_000_000_000_000),
    Letter(b"A: b\r\n\r\n>From \r\n", 0, int(Flag.ANSWERED | Flag.FLAGGED)),
]


def bring(file: Path, letters: list[Letter], name: str) -> Path:
    """An mbox that holds these."""
    from fastsmtp.cli import mbox

    path = file.parent / name
    with open(path, "wb") as out:
        for letter in letters:
            mbox.write(out, letter, "s@far.test", [letter.body])
    return path


@pytest.mark.parametrize("target", ["out.mbox", "out/"])
def test_what_is_exported_is_imported_unchanged(
    file: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(file.parent)
    bob = "bob@example.test"
    add(file, ALICE, bob)
    assert do(file, "mail", "import", ALICE, str(bring(file, LETTERS, "in"))) == 0
    assert do(file, "mail", "export", ALICE, target) == 0
    assert do(file, "mail", "import", bob, target, "--mailbox", "Archive") == 0
    again = ["mail", "export", bob, "again.mbox", "--mailbox", "Archive"]
    assert do(file, *again) == 0
    with open("again.mbox", "rb") as lines:
        assert list(read(lines, 0)) == LETTERS


def test_exported_mail_is_private(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    add(file, ALICE)
    assert do(file, "mail", "import", ALICE, str(bring(file, LETTERS, "in"))) == 0
    for target in ("out.mbox", "out/"):
        assert do(file, "mail", "export", ALICE, target) == 0
    made = [Path("out.mbox"), *Path("out/cur").iterdir()]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}


def test_keywords_that_a_maildir_does_not_keep_are_counted(
    file: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    add(file, ALICE)
    odd = [Letter(b"A: b\r\n\r\n", 0, 0, False, ("blue",))]
    assert do(file, "mail", "import", ALICE, str(bring(file, odd, "in"))) == 0
    assert do(file, "mail", "export", ALICE, "out/") == 0
    assert "1 of them have keywords" in capsys.readouterr().err


def test_an_export_that_fails_leaves_no_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    add(file, ALICE)
    assert do(file, "mail", "import", ALICE, str(bring(file, LETTERS, "in"))) == 0
    monkeypatch.setattr("fastsmtp.cli.mbox.write", _full)
    assert do(file, "mail", "export", ALICE, "out.mbox") == 1
    assert not Path("out.mbox").exists()


def _full(*args: object) -> None:
    raise OSError(28, "No space left on device")


def test_batches(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastsmtp.cli import transfer

    monkeypatch.setattr(transfer, "BATCH_MESSAGES", 3)
    monkeypatch.setattr(transfer, "BATCH_OCTETS", 100)
    sizes = [10, 10, 10, 10, 95, 200, 50, 50, 1]
    letters = [Letter(b"x" * size, 0) for size in sizes]
    found = [[len(m.body) for m in batch] for batch in transfer._batches(letters)]
    assert found == [[10, 10, 10], [10], [95], [200], [50, 50], [1]]


def undeliverable(file: Path) -> str:
    """Mail for somebody who is gone; gives its queue id."""
    config = load(file, {})
    envelope = Envelope(
        "s@far.test",
        (Recipient("Ghost@example.test", "FAILURE,DELAY", "rfc822;gh@x.test"),),
        1_795_493_520_000,
        client="::1",
        requiretls=True,
        envid="QQ314159",
    )

    async def send() -> int:
        with lock(config.data):
            async with access.keeping(config) as store:
                id = await store.append(Kind.MAIL, encode_envelope(envelope), b"x\r\n")
                await store.applied(id)
                return id

    return queue_id(asyncio.run(send()))


def test_the_queue(file: Path, capsys: Output) -> None:
    id = undeliverable(file)
    (row,) = rows(file, capsys, "queue", "list")
    assert row["id"] == id
    assert (row["state"], row["sender"]) == ("scheduled", "<s@far.test>")
    assert (row["waiting"], row["octets"], row["attempts"]) == (1, 3, 0)
    assert row["arrived"] == "2026-11-24T04:12:00Z"
    for words, count in (
        (["--sender", "@far.test"], 1),
        (["--sender", "@other.test"], 0),
        (["--recipient", "ghost@example.test"], 1),
        (["--state", "hold"], 0),
        (["--older", "10000 d"], 0),
    ):
        assert len(rows(file, capsys, "queue", "list", *words)) == count
    assert do(file, "queue", "list") == 0
    assert id in capsys.readouterr().out
    assert do(file, "queue", "show", id.lower()) == 0
    text = capsys.readouterr().out
    assert f"id:       {id}\n" in text
    assert "with:     BODY=7BIT REQUIRETLS ENVID=QQ314159\n" in text
    assert (
        "to:       Ghost@example.test: waiting\n"
        "          with NOTIFY=FAILURE,DELAY ORCPT=rfc822;gh@x.test\n"
        "          0 attempts, next "
    ) in text
    (found,) = rows(file, capsys, "queue", "show", id)
    assert found["client"] == "::1"
    assert (found["requiretls"], found["smtputf8"]) == (True, False)
    assert (found["envid"], found["ret"], found["submitter"]) == ("QQ314159", "", "")
    assert found["targets"][0]["notify"] == "FAILURE,DELAY"
    assert found["targets"][0]["orcpt"] == "rfc822;gh@x.test"
    assert do(file, "verify") == 0


def test_an_empty_queue(file: Path, capsys: Output) -> None:
    add(file, ALICE)
    capsys.readouterr()
    assert do(file, "queue", "list") == 0
    assert capsys.readouterr().out == "nothing waits\n"
    assert rows(file, capsys, "queue", "list", "--state", "hold") == []


def test_data_of_somebody_else(
    file: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(file, ALICE)
    monkeypatch.setattr(os, "access", lambda *_asked, **_how: False)
    for words in (("user", "list"), ("queue", "list"), ("why", ALICE)):
        assert do(file, *words) == 1
        assert "run this as the user that serves" in capsys.readouterr().err


def test_backup(file: Path, capsys: Output) -> None:
    add(file, ALICE)
    assert do(file, "mail", "import", ALICE, str(bring(file, LETTERS, "in"))) == 0
    copy = file.parent / "copy"
    assert do(file, "backup", str(copy)) == 0
    other = file.with_name("other.toml")
    other.write_text(file.read_text().replace('"data"', '"copy"'))
    found = rows(other, capsys, "mail", "list", ALICE)
    assert [row["uid"] for row in found] == [1, 2, 3]
    (copy / "index").rename(copy / "index.unfinished")
    assert do(file, "verify", str(copy)) == 1
    assert "is a backup that was not finished" in capsys.readouterr().err
    assert do(other, "mail", "list", ALICE) == 1
    assert do(file, "backup", f"{file.parent}/data/today") == 1
    assert "a backup goes elsewhere" in capsys.readouterr().err


def test_verify_finds_nothing_in_a_whole_store(file: Path, capsys: Output) -> None:
    add(file, ALICE)
    assert do(file, "mail", "import", ALICE, str(bring(file, LETTERS, "in"))) == 0
    capsys.readouterr()
    assert do(file, "verify") == 0
    assert capsys.readouterr().out == (
        f"{file.parent}/data: every entry has its body, every checksum and every"
        " count holds\n"
    )
    assert rows(file, capsys, "verify") == []


def test_verify_names_what_is_damaged(file: Path, capsys: Output) -> None:
    add(file, ALICE)
    letters = [Letter(b"A: b\r\n\r\nmark\r\n", 0)]
    assert do(file, "mail", "import", ALICE, str(bring(file, letters, "in"))) == 0
    for path in (file.parent / "data/log").iterdir():
        path.write_bytes(path.read_bytes().replace(b"mark", b"mask"))
    capsys.readouterr()
    assert do(file, "verify") == 1
    text = capsys.readouterr().out
    assert "its checksum is" in text
    assert f"    {ALICE}: mailbox 1 UID 1\n" in text
    assert text.endswith("data: 1 fault\n")
    assert do(file, "verify", "--json") == 1
    (finding,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (finding["what"], finding["fault"]) == ("body", True)
    assert len(finding["id"]) == 13


def test_verify_without_a_store(file: Path, capsys: Output) -> None:
    assert do(file, "verify") == 1
    assert "holds no store" in capsys.readouterr().err


def test_check_knows_the_accounts(file: Path, capsys: Output) -> None:
    text = file.read_text()
    file.write_text(
        f'{text}catch_all = "bob@example.test"\n'
        'aliases = { a = ["alice+x@example.test", "b@example.test"],'
        ' b = "gone@example.test" }\n'
    )
    assert do(file, "check") == 0
    assert capsys.readouterr().out.endswith(": ok\n")
    add(file, ALICE)
    found = [row["key"] for row in rows(file, capsys, "check")]
    assert found == [
        'domains."example.test".catch_all',
        'domains."example.test".aliases.b[0]',
    ]
    file.write_text(text)
    (row,) = rows(file, capsys, "check")
    assert str(row["text"]).endswith("is read by nobody")
    add(file, "postmaster@example.test")
    assert rows(file, capsys, "check") == []
