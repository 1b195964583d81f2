"""A statement holds only if its signer's role, kind, algorithm, header and bytes all do."""

import hmac
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey

from isthmus.canonical import canonical_json, sha256_hex
from isthmus.identity import Role
from isthmus.statement import StatementError, StatementFault, StatementKind, Verified, sign
from tests.unit.isthmus.statement_party import KIND, OFFICER, PAYLOAD, Json, Party, encode


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Party:
    return Party(tmp_path_factory.mktemp("pki"))


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
