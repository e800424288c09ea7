"""`openssl s_client` and sslyze find nothing weak on a listener with STARTTLS nor on
one with implicit TLS, with either kind of key."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from users import Users

pytestmark = pytest.mark.slow
SSLYZE = Path(__file__).parents[2] / "var/sslyze/bin"  # as .ci/run installs it
REQUEST = "req -x509 -nodes -days 30 -subj /CN=mx.example.test -newkey"
KEYS = {
    "ECDSA": "ec -pkeyopt ec_paramgen_curve:prime256v1",
    "RSA": "rsa:2048",
}
AEAD = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
OLD_TOO = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
STRONGER = {"X448", "secp521r1"}
"""Curves that Mozilla's list leaves out though they are strong; the ssl module of
Python before 3.15 takes one curve or all that OpenSSL has on."""


@pytest.fixture(scope="module", params=sorted(KEYS))
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Users]:
    home = tmp_path_factory.mktemp("scan")
    made = Users(home, "split")
    words = (
        f"{REQUEST} {KEYS[request.param]} -keyout {home}/tls.key -out {home}/tls.crt"
    )
    subprocess.run([openssl(), *words.split()], check=True, capture_output=True)
    made.start()
    yield made
    made.stop()


@pytest.fixture(params=["starttls", "implicit"])
def where(server: Users, request: pytest.FixtureRequest) -> list[str]:
    if request.param == "implicit":
        return ["-connect", f"127.0.0.1:{server.sealed}"]
    return ["-starttls", "smtp", "-connect", f"127.0.0.1:{server.clear}"]


def openssl() -> str:
    if found := shutil.which("openssl"):
        return found
    pytest.skip("needs openssl: apt-get install openssl")


def s_client(where: list[str], *words: str, given: str = "") -> str:
    """Everything that it says about one connection."""
    done = subprocess.run(
        [openssl(), "s_client", *where, *words],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    assert "CONNECTED" in done.stdout, done.stdout
    return done.stdout


def kind(server: Users) -> str:
    text = subprocess.run(
        [openssl(), "x509", "-noout", "-text", "-in", str(server.home / "tls.crt")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return "RSA" if "rsaEncryption" in text else "ECDSA"


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(where: list[str], version: str) -> None:
    said = s_client(where, version, "-cipher", OLD_TOO)
    assert "alert protocol version" in said
    assert "no peer certificate available" in said


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_new_versions_are_spoken(where: list[str], version: str) -> None:
    said = s_client(where, f"-tls{version.replace('.', '_')}")
    assert f"New, TLSv{version}, Cipher is " in said
    assert "Compression: NONE" in said
    if version == "1.2":  # 1.3 knows no renegotiation
        assert "Secure Renegotiation IS supported" in said
        assert "Extended master secret: yes" in said


def test_the_suites_of_1_2_are_ecdhe_with_aead_and_no_other(
    server: Users, where: list[str]
) -> None:
    """Each that this OpenSSL knows is offered alone."""
    listed = subprocess.run(
        [openssl(), "ciphers", "-s", "-tls1_2", OLD_TOO],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = listed.strip().split(":")
    assert {"NULL-SHA256", "ADH-AES128-SHA", "AES128-GCM-SHA256"} < set(names)
    taken = set()
    for name in names:
        said = s_client(where, "-tls1_2", "-cipher", f"{name}:@SECLEVEL=0")
        if f", Cipher is {name}\n" in said:
            taken.add(name)
        else:
            assert "handshake failure" in said, said
    assert taken == {f"ECDHE-{kind(server)}-{suite}" for suite in AEAD}


def test_renegotiation_is_refused(where: list[str]) -> None:
    said = s_client(where, "-tls1_2", given="R\n")
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said


def test_old_digests_in_signatures_are_refused(where: list[str]) -> None:
    words = ["-sigalgs", "RSA+SHA1:ECDSA+SHA1", "-cipher", "ECDHE:@SECLEVEL=0"]
    said = s_client(where, "-tls1_2", *words)
    assert "handshake failure" in said


def scanned(where: list[str], file: Path) -> tuple[dict[str, Any], str]:
    """What sslyze found, for programs and for people."""
    sslyze = shutil.which("sslyze") or shutil.which("sslyze", path=SSLYZE)
    if sslyze is None:
        pytest.skip("needs sslyze: pip install sslyze, in an environment of its own")
    words = ["--starttls", "smtp"] if "-starttls" in where else []
    words += ["--mozilla_config", "intermediate", "--json_out", str(file), where[-1]]
    done = subprocess.run([sslyze, *words], capture_output=True, text=True, timeout=300)
    (server,) = json.loads(file.read_bytes())["server_scan_results"]
    assert server["scan_status"] == "COMPLETED", done.stdout + done.stderr
    found = server["scan_result"]
    return {name: found[name]["result"] for name in found}, done.stdout


def accepted(found: dict[str, Any], version: str) -> list[str]:
    suites = found[f"{version}_cipher_suites"]["accepted_cipher_suites"]
    return [suite["cipher_suite"]["name"] for suite in suites]


def test_sslyze(where: list[str], tmp_path: Path) -> None:
    found, said = scanned(where, tmp_path / "found.json")
    for old in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert accepted(found, old) == []
    assert len(accepted(found, "tls_1_2")) == len(accepted(found, "tls_1_3")) == 3
    assert not found["tls_compression"]["supports_compression"]
    assert not found["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"]
    assert not found["heartbleed"]["is_vulnerable_to_heartbleed"]
    assert found["robot"]["robot_result"] == "NOT_VULNERABLE_RSA_NOT_SUPPORTED"
    assert found["tls_fallback_scsv"]["supports_fallback_scsv"]
    assert found["tls_extended_master_secret"]["supports_ems_extension"]
    again = found["session_renegotiation"]
    assert again["supports_secure_renegotiation"]
    assert not again["is_vulnerable_to_client_renegotiation_dos"]
    faults = dict(re.findall(r"^        \* (\w+): (.*)$", said, re.MULTILINE))
    assert faults.pop("certificate_path_validation")  # it is self-signed
    assert set(re.findall(r"'(\w+)'", faults.pop("tls_curves", ""))) <= STRONGER
    assert faults == {}, said
