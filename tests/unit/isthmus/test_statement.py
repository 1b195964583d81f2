"""A statement holds only if its signer, kind, certificate and bytes all do."""

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey

from isthmus import pki
from isthmus.canonical import canonical_json, sha256_hex
from isthmus.identity import Identity, Role
from isthmus.statement import (
    StatementError,
    StatementFault,
    StatementKind,
    StatementVerifier,
    Verified,
    sign,
)

DOMAIN = "data.example"
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
OFFICER = Identity(DOMAIN, Role.OFFICER, "education", "li")
PAYLOAD = {"contract": "contracts/edu-person-2026@2", "用途": "入学资格核验", "rows": 3}
KIND = StatementKind.CONTRACT
Json = dict[str, Any]


class Party:
    """An officer's credentials, the authority behind them, and the tools to forge with them."""

    def __init__(self, folder: Path) -> None:
        self.authority = pki.create_authority(DOMAIN, now=NOW)
        pki.save_authority(folder, self.authority)
        issued = self.authority.issue(OFFICER, now=NOW)
        certificate, key = pki.save_issued(folder, OFFICER, issued)
        self.credentials = pki.load_credentials(certificate, key, folder / "ca.pem")
        self.token = sign(PAYLOAD, KIND, self.credentials)
        self.verifier = StatementVerifier([self.authority.certificate], DOMAIN, clock=lambda: NOW)

    def verify(self, token: str, **options: Any) -> Verified:
        options = {"kind": KIND, "expect_role": Role.OFFICER, **options}
        return self.verifier.verify(token, **options)

    def refused(self, token: str, fault: StatementFault, **options: Any) -> str:
        with pytest.raises(StatementError) as error:
            self.verify(token, **options)
        assert error.value.fault is fault, str(error.value)
        return str(error.value)

    def header(self, leaf: x509.Certificate | None = None, **changes: Any) -> Json:
        leaf = leaf or self.credentials.certificate
        return {
            "alg": "ES256",
            "typ": KIND.value,
            "x5c": [base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()],
            "x5t#S256": encode(leaf.fingerprint(hashes.SHA256())),
        } | changes

    def forge(
        self, header: bytes | Json, payload: bytes = canonical_json(PAYLOAD), *, key: Any = None
    ) -> str:
        """Signs any bytes whatever, ES256."""
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        signed = f"{encode(raw)}.{encode(payload)}".encode()
        key = key or self.credentials.key
        signature = jws.JWSRegistry.algorithms["ES256"].sign(signed, ECKey(key, key))
        return f"{signed.decode()}.{encode(signature)}"

    def certify(
        self,
        *uris: str,
        key: Any = None,
        issuer: pki.Authority | None = None,
        extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        digest: hashes.SHA224 | hashes.SHA256 | None = None,
    ) -> x509.Certificate:
        issuer = issuer or self.authority
        key = key or self.credentials.key
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(issuer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW)
            .not_valid_after(NOW + timedelta(hours=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), True
            )
        )
        for value, critical in extra:
            builder = builder.add_extension(value, critical)
        return builder.sign(issuer.key, digest or hashes.SHA256())


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Party:
    return Party(tmp_path_factory.mktemp("pki"))


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class LargeHeaders(jws.JWSRegistry):
    max_header_length = 8192


@pytest.mark.parametrize("kind", StatementKind)
def test_a_statement_says_what_was_said_and_by_whom(party: Party, kind: StatementKind) -> None:
    token = sign(PAYLOAD, kind, party.credentials)
    verified = party.verify(token, kind=kind)
    assert verified == Verified(PAYLOAD, OFFICER, party.credentials.thumbprint, sha256_hex(token.encode()))


def test_any_jose_library_can_check_it(party: Party) -> None:
    key = ECKey(party.credentials.certificate.public_key(), party.credentials.certificate.public_key())  # type: ignore[arg-type]
    read = jws.deserialize_compact(party.token, key, registry=LargeHeaders(algorithms=["ES256"]))
    assert read.payload == canonical_json(PAYLOAD)
    assert read.headers()["typ"] == "isthmus-contract+jws"


def test_a_statement_made_by_another_jose_library_is_accepted(party: Party) -> None:
    token = jws.serialize_compact(
        party.header(),
        canonical_json(PAYLOAD),
        ECKey(party.credentials.key, party.credentials.key),
        registry=LargeHeaders(algorithms=["ES256"]),
    )
    assert party.verify(token).payload == PAYLOAD


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_an_ed25519_signature_is_accepted_and_not_as_es256(party: Party, name: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    leaf = party.certify(OFFICER.uri, key=key)
    signed = f"{encode(json.dumps(party.header(leaf, alg=name)).encode())}.{encode(canonical_json(PAYLOAD))}"
    signature = jws.JWSRegistry.algorithms["Ed25519"].sign(signed.encode(), OKPKey(key, key))
    assert party.verify(f"{signed}.{encode(signature)}").identity == OFFICER
    party.refused(party.forge(party.header(leaf)), StatementFault.ALGORITHM)


@pytest.mark.parametrize("kind", [kind for kind in StatementKind if kind is not KIND])
def test_one_kind_is_never_replayed_as_another(party: Party, kind: StatementKind) -> None:
    party.refused(party.token, StatementFault.KIND, kind=kind)


@pytest.mark.parametrize("typ", ["JWT", "", "ISTHMUS-CONTRACT+JWS", "application/isthmus-contract+jws"])
def test_a_kind_that_is_not_ours_is_refused(party: Party, typ: str) -> None:
    party.refused(party.forge(party.header(typ=typ)), StatementFault.KIND)


def test_only_the_expected_roles_count(party: Party) -> None:
    party.refused(party.token, StatementFault.ROLE, expect_role=Role.GATEWAY)
    party.refused(party.token, StatementFault.ROLE, expect_role=())
    assert party.verify(party.token, expect_role={Role.NODE, Role.OFFICER}).identity == OFFICER


@pytest.mark.parametrize(
    "name", ["none", "None", "HS256", "HS512", "RS256", "PS256", "ES384", "ES256K", "EdDSA", ""]
)
def test_no_other_algorithm_is_accepted(party: Party, name: str) -> None:
    party.refused(party.forge(party.header(alg=name)), StatementFault.ALGORITHM)


def test_an_unsigned_statement_is_refused(party: Party) -> None:
    header, payload, _ = party.forge(party.header(alg="none")).split(".")
    party.refused(f"{header}.{payload}.", StatementFault.ALGORITHM)
    header, payload, _ = party.token.split(".")
    party.refused(f"{header}.{payload}.", StatementFault.SIGNATURE)


def test_the_public_key_is_not_an_hmac_secret(party: Party) -> None:
    signed = f"{encode(json.dumps(party.header(alg='HS256')).encode())}.{encode(canonical_json(PAYLOAD))}"
    secret = party.credentials.certificate.public_bytes(Encoding.PEM)
    signature = hmac.digest(secret, signed.encode(), "sha256")
    party.refused(f"{signed}.{encode(signature)}", StatementFault.ALGORITHM)


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"jwk": {"kty": "EC"}},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/leaf"},
        {"kid": "1"},
        {"b64": False},
        {"cty": "json"},
    ],
)
def test_no_other_header_is_accepted(party: Party, extra: Json) -> None:
    party.refused(party.forge(party.header() | extra), StatementFault.HEADER)


@pytest.mark.parametrize("missing", ["alg", "typ", "x5c", "x5t#S256"])
def test_no_header_may_be_missing(party: Party, missing: str) -> None:
    header = party.header()
    del header[missing]
    party.refused(party.forge(header), StatementFault.HEADER)


def test_a_header_of_the_wrong_shape_is_refused(party: Party) -> None:
    own = party.header()["x5c"][0]
    changes: tuple[Json, ...] = (
        {"x5c": []},
        {"x5c": [own, own]},
        {"x5c": own},
        {"x5c": [1]},
        {"x5c": [own + "!"]},
        {"alg": 1},
        {"typ": None},
        {"x5t#S256": encode(b"x" * 32)},
        {"x5t#S256": 1.5},
    )
    for change in changes:
        party.refused(party.forge(party.header(**change)), StatementFault.HEADER)
    doubled = json.dumps(party.header())[:-1] + ',"alg":"ES256"}'
    for raw in (doubled.encode(), b"[]", b"{", b"\xff", b""):
        party.refused(party.forge(raw), StatementFault.HEADER)


def test_a_flipped_bit_anywhere_is_noticed(party: Party) -> None:
    for position in range(0, len(party.token), 7):
        old = party.token[position]
        new = "A" if old != "A" else "B"
        with pytest.raises(StatementError):
            party.verify(party.token[:position] + new + party.token[position + 1 :])


def test_a_payload_signed_by_another_key_is_refused(party: Party) -> None:
    party.refused(
        party.forge(party.header(), key=ec.generate_private_key(ec.SECP256R1())), StatementFault.SIGNATURE
    )


def test_a_payload_under_another_statements_signature_is_refused(party: Party) -> None:
    header, _, signature = party.token.split(".")
    party.refused(f"{header}.{encode(canonical_json({'rows': 4}))}.{signature}", StatementFault.SIGNATURE)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":NaN}',
        b"[]",
        b'"x"',
        b"",
        b"\xff",
    ],
)
def test_a_payload_that_is_not_its_own_canonical_form_is_refused(party: Party, payload: bytes) -> None:
    party.refused(party.forge(party.header(), payload), StatementFault.PAYLOAD)


def spelled_otherwise(token: str) -> list[str]:
    header, payload, signature = token.split(".")
    # 64 signature bytes leave four unused bits in the last character.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(signature[-1]) | 1]
    return [
        f"{header}.{payload}.{signature}==",
        f"{header}.{payload}.{signature[:-1]}{last}",
        f"{header}.{payload}.{signature}\n",
        f" {token}",
        f"{token}.",
        f"{header}.{payload}",
        f"{header}..{payload}.{signature}",
        f"{header}.{payload}.签名",
        "",
    ]


def test_a_token_has_one_spelling_and_so_one_digest(party: Party) -> None:
    for token in spelled_otherwise(party.token):
        with pytest.raises(StatementError):
            party.verify(token)


def test_an_oversized_token_or_header_is_refused_before_anything_is_read(party: Party) -> None:
    party.refused(party.token, StatementFault.SIZE, max_bytes=len(party.token) - 1)
    assert party.verify(party.token, max_bytes=len(party.token)).identity == OFFICER
    party.refused(party.forge(party.header(typ="x" * 10_000)), StatementFault.SIZE)


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


def test_what_has_no_canonical_form_is_not_signed(party: Party) -> None:
    with pytest.raises(TypeError, match=r"\$\.share is a float"):
        sign({"share": 0.5}, KIND, party.credentials)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_a_mangled_token_raises_nothing_but_the_typed_error(party: Party, data: st.DataObject) -> None:
    token = data.draw(st.text(max_size=60) | st.lists(st.binary(max_size=40).map(encode)).map(".".join))
    cut = data.draw(st.integers(0, len(party.token)))
    for text in (token, party.token[:cut] + token):
        if text != party.token:
            with pytest.raises(StatementError):
                party.verify(text)
