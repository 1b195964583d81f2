"""The development authority issues what Isthmus needs, and files are never half written or overwritten."""

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from typer.testing import CliRunner

from isthmus import pki
from isthmus.cli.pki import app
from isthmus.identity import Identity, Role, identity_of_certificate

DOMAIN = "data.example"
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
GATEWAY = Identity(DOMAIN, Role.GATEWAY, None, "main")
NODE = Identity(DOMAIN, Role.NODE, "education", "n1")
SYSTEM = Identity(DOMAIN, Role.SYSTEM, "education", "enrolment")


@pytest.fixture(scope="module")
def authority() -> pki.Authority:
    return pki.create_authority(DOMAIN, now=NOW)


def names_of(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def pem_of(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, how: KeySerializationEncryption
) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def test_a_leaf_is_one_identity_for_a_day_and_both_ends(authority: pki.Authority) -> None:
    leaf = authority.issue(SYSTEM, now=NOW).certificate
    leaf.verify_directly_issued_by(authority.certificate)
    assert identity_of_certificate(leaf, DOMAIN) == SYSTEM
    assert leaf.not_valid_after_utc == NOW + timedelta(hours=24)
    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=1)
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert names_of(leaf).get_values_for_type(x509.DNSName) == []


def test_the_authority_signs_leaves_only(authority: pki.Authority) -> None:
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)


@pytest.mark.parametrize("server", [GATEWAY, NODE, Identity(DOMAIN, Role.AUDIT, None, "a1")])
def test_a_server_carries_its_own_name_and_the_hosts_asked_for(
    authority: pki.Authority, server: Identity
) -> None:
    leaf = authority.issue(server, now=NOW, hosts=("localhost", "127.0.0.1", "::1", "localhost")).certificate
    names = names_of(leaf)
    assert names.get_values_for_type(x509.DNSName) == [pki.server_name(server), "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    "host",
    [
        "main.gateway.data.example",
        "other.gateway.data.example",
        "n2.node.education.data.example",
        "*.gateway.data.example",
        "*",
        "UPPER.example",
        "a..b",
        "a b",
        "",
        "主机.example",
        "x" * 300,
    ],
)
def test_no_server_is_issued_the_pinned_name_of_another(authority: pki.Authority, host: str) -> None:
    with pytest.raises(pki.PkiError):
        authority.issue(NODE, now=NOW, hosts=(host,))


def test_a_client_is_issued_no_host_name(authority: pki.Authority) -> None:
    with pytest.raises(pki.PkiError, match="accepts no connections"):
        authority.issue(SYSTEM, now=NOW, hosts=("localhost",))


def test_a_stranger_and_an_overlong_life_are_refused(authority: pki.Authority) -> None:
    with pytest.raises(pki.PkiError, match=r"for data\.example only"):
        authority.issue(Identity("other.example", Role.GATEWAY, None, "main"), now=NOW)
    with pytest.raises(pki.PkiError, match="outlive"):
        authority.issue(GATEWAY, now=NOW, lifetime=timedelta(days=366))
    for lifetime in (timedelta(0), timedelta(seconds=59), timedelta(days=-1), timedelta(days=9_999_999)):
        with pytest.raises(pki.PkiError, match="lifetime"):
            authority.issue(GATEWAY, now=NOW, lifetime=lifetime)


def test_files_are_read_back_and_keys_are_private_whatever_the_umask(
    authority: pki.Authority, tmp_path: Path
) -> None:
    directory = tmp_path / "密钥"
    old = os.umask(0)
    try:
        pki.save_authority(directory, authority)
        certificate, key = pki.save_issued(directory, SYSTEM, authority.issue(SYSTEM, now=NOW))
    finally:
        os.umask(old)
    assert certificate.name == "education.system.enrolment.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert len(list(directory.iterdir())) == 4, "no temporary file is left"
    credentials = pki.load_credentials(certificate, key, directory / "ca.pem")
    assert credentials.identity(DOMAIN) == SYSTEM
    assert "PRIVATE" not in repr(credentials)
    assert pki.load_authority(directory).trust_domain == DOMAIN


def test_nothing_is_overwritten_without_force(authority: pki.Authority, tmp_path: Path) -> None:
    certificate, key = pki.save_issued(tmp_path, SYSTEM, authority.issue(SYSTEM, now=NOW))
    before = (certificate.read_bytes(), key.read_bytes())
    with pytest.raises(pki.PkiError, match="exists; --force"):
        pki.save_issued(tmp_path, SYSTEM, authority.issue(SYSTEM, now=NOW))
    assert (certificate.read_bytes(), key.read_bytes()) == before
    pki.save_issued(tmp_path, SYSTEM, authority.issue(SYSTEM, now=NOW), force=True)
    assert certificate.read_bytes() != before[0]
    assert key.read_bytes() != before[1]


def test_a_certificate_in_the_way_leaves_no_orphan_key(authority: pki.Authority, tmp_path: Path) -> None:
    (tmp_path / "education.system.enrolment.pem").write_text("someone else's")
    with pytest.raises(pki.PkiError, match="exists"):
        pki.save_issued(tmp_path, SYSTEM, authority.issue(SYSTEM, now=NOW))
    assert [path.name for path in tmp_path.iterdir()] == ["education.system.enrolment.pem"]


def test_force_replaces_a_link_instead_of_writing_through_it(
    authority: pki.Authority, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("untouched")
    (tmp_path / "gateway.main.key").symlink_to(target)
    pki.save_issued(tmp_path, GATEWAY, authority.issue(GATEWAY, now=NOW), force=True)
    assert target.read_text() == "untouched"


def test_every_bad_file_is_named_with_what_is_wrong(authority: pki.Authority, tmp_path: Path) -> None:
    pki.save_authority(tmp_path, authority)
    certificate, key = pki.save_issued(tmp_path, SYSTEM, authority.issue(SYSTEM, now=NOW))
    _, other_key = pki.save_issued(tmp_path, NODE, authority.issue(NODE, now=NOW))
    ca = tmp_path / "ca.pem"
    bad = tmp_path / "bad"
    p256 = ec.generate_private_key(ec.SECP256R1())

    def refused(why: str, *files: Path) -> None:
        with pytest.raises(pki.CredentialsError, match=why):
            pki.load_credentials(*files)

    refused("missing: cannot be read: No such file", tmp_path / "missing", key, ca)
    refused("n1.key: this is not the private key", certificate, other_key, ca)
    refused("n1.key: no PEM certificate", other_key, other_key, ca)
    refused("enrolment.pem: no PEM private key", certificate, certificate, ca)
    refused("enrolment.pem: holds a certificate that is not an authority's", certificate, key, certificate)
    bad.write_bytes(pem_of(p256, BestAvailableEncryption(b"secret")))
    refused("bad: the private key is encrypted", certificate, bad, ca)
    for wrong in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())):
        bad.write_bytes(pem_of(wrong, NoEncryption()))
        refused("bad: the private key is not on the curve P-256", certificate, bad, ca)
    bad.write_bytes(b"x" * ((1 << 20) + 1))
    refused("bad: larger than", certificate, key, bad)


def test_the_command_makes_issues_and_shows(tmp_path: Path) -> None:
    runner = CliRunner()
    folder = ["--dir", str(tmp_path), "--json"]
    assert runner.invoke(app, ["init", DOMAIN, *folder]).exit_code == 0
    issued = runner.invoke(
        app, ["issue", "/gateway/main", "--host", "localhost", "--lifetime", "30m", *folder]
    )
    assert issued.exit_code == 0, issued.output
    facts = json.loads(issued.stdout)
    assert facts["identity"] == GATEWAY.uri
    assert facts["server_name"] == "main.gateway.data.example"
    shown = json.loads(runner.invoke(app, ["show", facts["certificate"], "--json"]).stdout)
    assert shown["uris"] == [GATEWAY.uri]
    assert shown["hosts"] == ["main.gateway.data.example", "localhost"]
    plain = runner.invoke(app, ["show", facts["certificate"]])
    assert plain.exit_code == 0
    assert GATEWAY.uri in plain.stdout


def test_the_command_refuses_on_standard_error_with_documented_codes(tmp_path: Path) -> None:
    runner = CliRunner()
    folder = ["--dir", str(tmp_path)]
    assert runner.invoke(app, ["init", DOMAIN, *folder]).exit_code == 0
    for arguments, why in (
        (["init", DOMAIN, *folder], "--force"),
        (["init", "Data_Example", *folder, "--force"], "not a trust domain"),
        (["issue", "/gateway/Main", *folder], "not an identity path"),
        (["issue", "spiffe://other.example/gateway/main", *folder], "not in the trust domain"),
        (["issue", "/gateway/main", "--lifetime", "800d", *folder], "outlive"),
        (["issue", "/gateway/main", "--lifetime", "9999999d", *folder], "lifetime"),
        (["issue", "/gateway/main", "--dir", str(tmp_path / "none")], "cannot be read"),
        (["show", str(tmp_path / "none.pem")], "cannot be read"),
    ):
        result = runner.invoke(app, arguments)
        assert (result.exit_code, result.stdout) == (1, ""), arguments
        assert why in result.stderr
    assert runner.invoke(app, ["issue", "/gateway/main", "--lifetime", "soon", *folder]).exit_code == 2
