"""The scripted sink answers as its rules say, and knows what it took."""

import json
import shutil
import smtplib
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fastsmtp_bench import sink
from fastsmtp_bench.native import HERE, program
from fastsmtp_bench.sink import Mistake, lines, main, running

compiled = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"rules": []}, "no setting rules; there are rule"),
        ({"rule": [{"when": "rcpt", "cahnce": 1}]}, "rule 1: no setting cahnce"),
        ({"rule": [{"when": "helo"}]}, "when is 'helo', not one of connect, ehlo"),
        ({"rule": [{"when": "mail", "do": "die"}]}, "do is 'die'"),
        ({"rule": [{"when": "mail", "reply": "no"}]}, "three digits"),
        ({"rule": [{"when": "mail", "reply": "450 a\tb"}]}, "a tab"),
        ({"rule": [{"when": "mail", "share": 2}]}, "share is 2.0"),
        ({"rule": [{"when": "mail", "share": "all"}]}, "share is 'all', not a number"),
        ({"rule": [{"when": "mail", "delay": -1}]}, "delay is -1, not a number"),
        ({"rule": [{"when": "mail", "first": True}]}, "first is True, not a number"),
        ({"rule": {"when": "mail"}}, "a rule begins with"),
        ({"connections": "few"}, "connections is 'few', not a whole number above 0"),
        ({"messages": 0}, "messages is 0, not a whole number above 0"),
    ],
)
def test_mistakes_are_named(document: dict[str, Any], words: str) -> None:
    with pytest.raises(Mistake, match=words):
        lines(document)


def test_a_rule_is_a_line_of_fields() -> None:
    rule = {"when": "rcpt", "match": "@a", "first": 60, "reply": "451 Later"}
    assert lines({"rule": [rule]}) == ["rcpt\treply\t1.0\t60.0\t0.0\t@a\t451 Later"]


def test_a_bad_file_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.toml").write_text('[[rule]]\nwhen = "never"\n')
    assert main([str(tmp_path / "x.toml")]) == 2
    assert "rule 1: when is 'never'" in capsys.readouterr().err


def test_the_example_is_understood() -> None:
    text = (HERE / "providers.toml").read_text()
    assert len(lines(sink.tomllib.loads(text))) == text.count("[[rule]]") == 7


def rcpt(client: smtplib.SMTP, address: str) -> int:
    client.mail("a@sender.example")
    return client.rcpt(address)[0]


class TestAnswers:
    pytestmark = compiled

    def test_codes_by_address_and_for_new_pairs(self) -> None:
        rules = [
            {"when": "rcpt", "match": "@busy.", "reply": "452 4.3.1 Full"},
            {
                "when": "rcpt",
                "match": "@new.",
                "first": 0.2,
                "reply": "451 4.7.1 Later",
            },
        ]
        with (
            running({"rule": rules}) as here,
            smtplib.SMTP("127.0.0.1", here.port, timeout=10) as client,
        ):
            client.ehlo()
            assert rcpt(client, "x@Busy.example") == 452
            assert rcpt(client, "x@free.example") == 250
            began = time.monotonic()
            assert rcpt(client, "x@new.example") == 451
            while rcpt(client, "x@new.example") == 451:
                assert time.monotonic() - began < 10
            assert time.monotonic() - began >= 0.2
            assert rcpt(client, "y@new.example") == 451

    def test_close_hang_and_delay(self) -> None:
        rules = [
            {"when": "rcpt", "match": "@cut.", "do": "close"},
            {"when": "rcpt", "match": "@hang.", "do": "hang"},
            {"when": "body", "delay": 0.3},
        ]
        with running({"rule": rules}) as here:
            with smtplib.SMTP("127.0.0.1", here.port, timeout=10) as client:
                client.ehlo()
                began = time.monotonic()
                client.sendmail("a@b.example", ["c@d.example"], b"Subject: x\n\nx\n")
                assert time.monotonic() - began >= 0.3
                with pytest.raises(smtplib.SMTPServerDisconnected):
                    rcpt(client, "x@cut.example")
            client = smtplib.SMTP("127.0.0.1", here.port, timeout=0.3)
            client.ehlo()
            with pytest.raises((TimeoutError, smtplib.SMTPServerDisconnected)):
                rcpt(client, "x@hang.example")

    def test_limits_of_connections_and_of_messages_on_one(self) -> None:
        with (
            running({"connections": 1, "messages": 1}) as here,
            smtplib.SMTP("127.0.0.1", here.port, timeout=10) as client,
        ):
            client.sendmail("a@b.example", ["c@d.example"], b"x\n")
            with pytest.raises(smtplib.SMTPConnectError) as why:
                smtplib.SMTP("127.0.0.1", here.port, timeout=10)
            assert why.value.smtp_code == 421
            assert client.mail("a@b.example")[0] == 421

    @pytest.mark.parametrize(
        "way", [[], ["--pipeline"], ["--bdat"], ["--lmtp", "--recipients", "3"]]
    )
    def test_every_acknowledged_message_is_recorded_once(
        self, tmp_path: Path, way: list[str]
    ) -> None:
        acked, record = tmp_path / "acked", tmp_path / "record"
        rules = [
            {"when": "mail", "share": 0.1, "reply": "450 4.2.0 Later"},
            {"when": "body", "share": 0.1, "reply": "451 4.3.0 Trouble"},
            {"when": "data", "share": 0.1, "do": "close"},
        ]
        with running({"rule": rules}, "--record", str(record)) as here:
            words = ["--port", str(here.port), "--messages", "400", "--tolerant"]
            words += ["--size", "10:1,5000:1,70000:1", "--acked", str(acked), *way]
            done = subprocess.run(
                [program("load"), *words], capture_output=True, timeout=60
            )
        said = json.loads(done.stdout)
        assert said["acknowledged"] + said["refused"] + said["broken"] >= 400
        assert said["refused"] > 20
        found = Counter(line.split()[0] for line in record.read_text().splitlines())
        assert set(found.values()) == {1}
        assert set(acked.read_text().split()) <= set(found)
        assert len(acked.read_text().split()) == said["acknowledged"] > 100
