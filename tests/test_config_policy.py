"""Settings of [policy] and [dnsbl] that cannot be, or never have an effect."""

from pathlib import Path

import pytest

from fastsmtp.config import check, load

HEAD = 'hostname = "mx.example.test"\ndata = "data"\n[domains."example.test"]\n'
ZEN = '[dnsbl."zen.example.net"]\n'


def problems(folder: Path, more: str) -> list[str]:
    """ "severity line key text" of each finding about the policy."""
    file = folder / "fastsmtp.toml"
    file.write_text(HEAD + more)
    found = check(file, {})[1]
    return [
        f"{p.severity} {p.line} {p.key} {p.text}"
        for p in found
        if p.key.startswith(("policy", "dnsbl"))
    ]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (ZEN, []),
        ("[policy]\ndnsbl_reject = 5\n", []),
        (
            f"{ZEN}score = 2\n[policy]\ndnsbl_reject = 5\n",
            [
                "warning 7 policy.dnsbl_reject is never reached: all lists together"
                " count 2 at most"
            ],
        ),
        (
            f'{ZEN}codes = {{ "127.0.0.2" = 2, "127.0.0.4-7" = 3 }}\n'
            "[policy]\ndnsbl_reject = 5\ndnsbl_defer = 3\n",
            [],
        ),
        (
            f"{ZEN}[policy]\ndnsbl_reject = 0\n",
            [
                "warning 6 policy.dnsbl_reject and dnsbl_defer are 0: the lists are"
                " asked and refuse nobody"
            ],
        ),
        (
            f"{ZEN}score = 9\n[policy]\ndnsbl_reject = 5\ndnsbl_defer = 5\n",
            [
                "warning 8 policy.dnsbl_defer is not below dnsbl_reject: nobody is"
                " ever deferred"
            ],
        ),
        (
            f'{ZEN}score = 0\n[dnsbl."b.example.net"]\n',
            [
                'warning 4 dnsbl."zen.example.net" counts nothing: its score is 0 and'
                " it has no codes"
            ],
        ),
        (
            '[dnsbl."no domain"]\n',
            [
                'error 4 dnsbl."no domain" has the part "no domain"; parts are letters,'
                " digits and inner hyphens, at most 63"
            ],
        ),
        (
            ZEN + 'codes = { "192.0.2.1" = 1, "127.0.0.9-3" = 1, "127.0.0.2" = "x" }\n',
            [
                'error 5 dnsbl."zen.example.net".codes."192.0.2.1" is not in'
                " 127.0.0.0/8, where lists answer",
                'error 5 dnsbl."zen.example.net".codes."127.0.0.9-3" has no range of'
                " last octets behind it, such as 127.0.0.4-7",
                'error 5 dnsbl."zen.example.net".codes."127.0.0.2" is not a number',
            ],
        ),
    ],
)
def test_what_is_found(tmp_path: Path, more: str, expected: list[str]) -> None:
    assert problems(tmp_path, more) == expected


def test_lists_are_read(tmp_path: Path) -> None:
    file = tmp_path / "fastsmtp.toml"
    file.write_text(HEAD + ZEN + 'score = -2.5\ncodes = { "127.0.0.2" = 3 }\n')
    config = load(file, {"FASTSMTP_POLICY__DNSBL_REJECT": "2.5"})
    assert config.policy.dnsbl_reject == 2.5
    assert config.dnsbl["zen.example.net"].score == -2.5
    assert config.dnsbl["zen.example.net"].codes == {"127.0.0.2": 3.0}


@pytest.mark.parametrize("server", ["dns.example.net:53", "127.0.0.1"])
def test_a_name_server_has_an_address_and_a_port(tmp_path: Path, server: str) -> None:
    file = tmp_path / "fastsmtp.toml"
    file.write_text(f'{HEAD}[dns]\nservers = ["{server}"]\n')
    (problem,) = (p for p in check(file, {})[1] if p.key.startswith("dns"))
    assert (problem.severity, problem.line) == ("error", 5)
