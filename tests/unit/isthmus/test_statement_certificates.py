"""A statement holds only under a certificate that proves an identity, by a trusted authority, in its time."""

import base64
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from isthmus import pki
from isthmus.identity import Role
from isthmus.statement import StatementError, StatementFault, StatementVerifier
from tests.unit.isthmus.statement_party import DOMAIN, KIND, NOW, OFFICER, Party


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Party:
    return Party(tmp_path_factory.mktemp("pki"))


ENROLMENT = "spiffe://data.example/department/education/officer/li"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda p: p.certify(), "0 URI names"),
        (lambda p: p.certify(ENROLMENT, "spiffe://data.example/gateway/main"), "2 URI names"),
        (lambda p: p.certify("spiffe://other.example/gateway/main"), "trust domain"),
        (lambda p: p.certify(ENROLMENT, issuer=pki.create_authority(DOMAIN, now=NOW)), "trusted authority"),
        (lambda p: p.certify(ENROLMENT, extra=((x509.BasicConstraints(True, None), True),)), "authority"),
        (
            lambda p: p.certify(
                ENROLMENT, extra=((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),)
            ),
            "clientAuth",
        ),
        (
            lambda p: p.certify(
                ENROLMENT,
                extra=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),),
            ),
            "1.2.3.4 is not understood",
        ),
        (lambda p: p.certify(ENROLMENT, key=ec.generate_private_key(ec.SECP384R1())), "neither P-256"),
        (lambda p: p.certify(ENROLMENT, digest=hashes.SHA224()), "SHA-256 or stronger"),
        (lambda p: p.authority.certificate, "authority"),
    ],
)
def test_a_certificate_that_proves_no_identity_cannot_sign(
    party: Party, make: Callable[[Party], x509.Certificate], why: str
) -> None:
    assert why in party.refused(party.forge(party.header(make(party))), StatementFault.CERTIFICATE)


def test_the_authority_itself_cannot_sign(party: Party) -> None:
    token = party.forge(party.header(party.authority.certificate), key=party.authority.key)
    party.refused(token, StatementFault.CERTIFICATE)


def test_a_leaf_cannot_issue_another_leaf(party: Party) -> None:
    leaf = pki.Authority(DOMAIN, party.credentials.certificate, party.credentials.key)
    key = ec.generate_private_key(ec.SECP256R1())
    forged = party.certify("spiffe://data.example/gateway/main", key=key, issuer=leaf)
    party.refused(
        party.forge(party.header(forged), key=key), StatementFault.CERTIFICATE, expect_role=Role.GATEWAY
    )


def test_garbage_in_place_of_a_certificate_is_refused(party: Party) -> None:
    for der in (b"", b"garbage", party.credentials.certificate.public_bytes(Encoding.DER) + b"\x00"):
        header = party.header(x5c=[base64.b64encode(der).decode()])
        party.refused(party.forge(header), StatementFault.CERTIFICATE)


def test_validity_is_judged_at_the_clock_every_time(party: Party) -> None:
    moments = [NOW]
    verifier = StatementVerifier([party.authority.certificate], DOMAIN, clock=lambda: moments[-1])
    verifier.verify(party.token, kind=KIND, expect_role=Role.OFFICER)
    for moment in (NOW - timedelta(minutes=2), NOW + timedelta(hours=24, seconds=1)):
        moments.append(moment)
        with pytest.raises(StatementError) as error:
            verifier.verify(party.token, kind=KIND, expect_role=Role.OFFICER)
        assert error.value.fault is StatementFault.VALIDITY


def test_an_old_statement_is_judged_at_the_time_it_was_recorded(party: Party) -> None:
    later = StatementVerifier([party.authority.certificate], DOMAIN, clock=lambda: NOW + timedelta(days=100))
    assert later.verify(party.token, kind=KIND, expect_role=Role.OFFICER, at=NOW).identity == OFFICER
    party.refused(party.token, StatementFault.VALIDITY, at=NOW + timedelta(days=2))


def test_a_leaf_that_outlives_its_authority_ends_with_it(party: Party) -> None:
    short = pki.create_authority(DOMAIN, now=NOW, lifetime=timedelta(minutes=5))
    verifier = StatementVerifier([short.certificate], DOMAIN, clock=lambda: NOW + timedelta(minutes=6))
    token = party.forge(party.header(party.certify(ENROLMENT, issuer=short)))
    with pytest.raises(StatementError) as error:
        verifier.verify(token, kind=KIND, expect_role=Role.OFFICER)
    assert error.value.fault is StatementFault.VALIDITY


def test_the_right_one_of_several_authorities_is_found(party: Party) -> None:
    others = [pki.create_authority(DOMAIN, now=NOW).certificate for _ in range(2)]
    verifier = StatementVerifier([*others, party.authority.certificate], DOMAIN, clock=lambda: NOW)
    assert verifier.verify(party.token, kind=KIND, expect_role=Role.OFFICER).identity == OFFICER


def test_a_verifier_needs_real_authorities(party: Party) -> None:
    for certificates in ([], [party.credentials.certificate], [party.certify(ENROLMENT)]):
        with pytest.raises(ValueError, match="authority"):
            StatementVerifier(certificates, DOMAIN, clock=lambda: NOW)
