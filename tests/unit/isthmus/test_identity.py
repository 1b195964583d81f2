"""Nobody is anybody but the one SPIFFE URI in the certificate."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from isthmus.identity import (
    MAX_TRUST_DOMAIN,
    SERVING_ROLES,
    Identity,
    IdentityError,
    PeerResolver,
    Role,
    identity_of_certificate,
    peer_identity,
    server_name,
)

DOMAIN = "data.example"
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ENROLMENT = "spiffe://data.example/department/education/system/enrolment"

SLUGS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    role = draw(st.sampled_from(Role))
    return Identity(DOMAIN, role, draw(SLUGS) if role.departmental else None, draw(SLUGS))


def certificate(
    *uris: str, ca: bool | None = False, usage: x509.KeyUsage | None = None, dns: tuple[str, ...] = ()
) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(hours=1))
    )
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names += [x509.DNSName(text) for text in dns]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
    if usage is not None:
        builder = builder.add_extension(usage, True)
    return builder.sign(key, hashes.SHA256())


def usage(
    *, digital_signature: bool = True, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def context(leaf: x509.Certificate, *spiffe_ids: str) -> dict[str, list[bytes]]:
    return {
        "x509_pem_cert": [leaf.public_bytes(Encoding.PEM)],
        "peer_spiffe_id": [spiffe_id.encode() for spiffe_id in spiffe_ids],
    }


@given(identities())
def test_an_identity_is_read_back_from_its_uri(identity: Identity) -> None:
    assert Identity.parse(identity.uri, trust_domain=DOMAIN) == identity
    assert Identity.parse_path(identity.path, trust_domain=DOMAIN) == identity


@given(st.text(max_size=80) | st.text(max_size=40).map(lambda tail: "spiffe://data.example/" + tail))
def test_any_other_text_is_refused_with_the_typed_error(uri: str) -> None:
    try:
        identity = Identity.parse(uri, trust_domain=DOMAIN)
    except IdentityError:
        return
    assert identity.uri == uri


@pytest.mark.parametrize(
    ("uri", "role", "resource"),
    [
        (ENROLMENT, Role.SYSTEM, "departments/education/systems/enrolment"),
        ("spiffe://data.example/department/education/node/n1", Role.NODE, "departments/education/nodes/n1"),
        (
            "spiffe://data.example/department/education/officer/li",
            Role.OFFICER,
            "departments/education/officers/li",
        ),
        ("spiffe://data.example/gateway/main", Role.GATEWAY, "gateways/main"),
        ("spiffe://data.example/audit/a1", Role.AUDIT, "audits/a1"),
        ("spiffe://data.example/auditor/chen", Role.AUDITOR, "auditors/chen"),
        ("spiffe://data.example/operator/zhao", Role.OPERATOR, "operators/zhao"),
        ("spiffe://data.example/portal/hall-3", Role.PORTAL, "portals/hall-3"),
    ],
)
def test_every_role_has_its_path_and_resource_name(uri: str, role: Role, resource: str) -> None:
    identity = Identity.parse(uri, trust_domain=DOMAIN)
    assert (identity.role, identity.resource) == (role, resource)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://data.example",
        "spiffe://data.example/",
        "spiffe://data.example/gateway",
        "spiffe://data.example/gateway/",
        "spiffe://data.example/gateway/main/",
        "spiffe://data.example/gateway/main\n",
        "spiffe://data.example//gateway/main",
        "spiffe://data.example/gateway/../audit/a1",
        "spiffe://data.example/gateway/main?x=1",
        "spiffe://data.example/gateway/main#x",
        "spiffe://data.example/gateway/%6dain",
        "spiffe://data.example/gateway/Main",
        "spiffe://data.example/Gateway/main",
        "spiffe://data.example/gateway/-main",
        "spiffe://data.example/gateway/main-",
        "spiffe://data.example/gateway/a.b",
        "spiffe://data.example/gateway/a_b",
        "spiffe://data.example/gateway/网关",
        "spiffe://data.example/gateway/" + "a" * 64,
        "spiffe://data.example/admin/root",
        "spiffe://data.example/system/enrolment",
        "spiffe://data.example/department/education",
        "spiffe://data.example/department/education/gateway/main",
        "spiffe://data.example/department/education/system/enrolment/extra",
        "spiffe://data.example:8443/gateway/main",
        "spiffe://root@data.example/gateway/main",
        "SPIFFE://data.example/gateway/main",
        "spiffe://DATA.example/gateway/main",
        "spiffe://data.example.evil/gateway/main",
        "spiffe://evil/gateway/main",
        "https://data.example/gateway/main",
        " spiffe://data.example/gateway/main",
    ],
)
def test_a_uri_that_is_only_nearly_an_identity_is_refused(uri: str) -> None:
    with pytest.raises(IdentityError):
        Identity.parse(uri, trust_domain=DOMAIN)


@pytest.mark.parametrize(
    "domain", ["", "Data.example", "data..example", ".data", "data.", "a_b", "a" * 64, "a." * 50 + "a", "d/x"]
)
def test_a_trust_domain_that_is_no_dns_name_is_refused(domain: str) -> None:
    with pytest.raises(IdentityError, match="not a trust domain"):
        Identity(domain, Role.GATEWAY, None, "main")


@pytest.mark.parametrize("host", ["data.example.evil", "data.example:8443", "data.exampl", "evil"])
def test_a_trust_domain_that_only_begins_alike_is_another(host: str) -> None:
    with pytest.raises(IdentityError, match="not in the trust domain"):
        Identity.parse(f"spiffe://{host}/gateway/main", trust_domain=DOMAIN)


def test_a_department_is_neither_missing_nor_out_of_place() -> None:
    with pytest.raises(IdentityError, match="needs a department"):
        Identity(DOMAIN, Role.SYSTEM, None, "enrolment")
    with pytest.raises(IdentityError, match="belongs to no department"):
        Identity(DOMAIN, Role.AUDITOR, "education", "chen")


@given(identities(), identities())
def test_two_servers_never_share_a_server_name(one: Identity, other: Identity) -> None:
    if one.role in SERVING_ROLES and other.role in SERVING_ROLES and one != other:
        assert server_name(one) != server_name(other)


def test_the_longest_server_name_is_still_a_dns_name() -> None:
    label = "a" * 63
    domain = (("a" * 49 + ".") * 2 + "a")[:MAX_TRUST_DOMAIN].rstrip(".")
    for role in SERVING_ROLES:
        name = server_name(Identity(domain, role, label if role.departmental else None, label))
        assert len(name) <= 253
        assert all(re.fullmatch("[a-z0-9-]{1,63}", part) for part in name.split("."))


def test_server_names_are_as_documented_and_clients_have_none() -> None:
    assert server_name(Identity(DOMAIN, Role.GATEWAY, None, "main")) == "main.gateway.data.example"
    assert server_name(Identity(DOMAIN, Role.NODE, "education", "n1")) == "n1.node.education.data.example"
    with pytest.raises(IdentityError, match="not a server"):
        server_name(Identity(DOMAIN, Role.SYSTEM, "education", "enrolment"))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: certificate(), "no subject alternative name"),
        (lambda: certificate(dns=("data.example",)), "0 URI names"),
        (lambda: certificate(ENROLMENT, "spiffe://data.example/gateway/main"), "2 URI names"),
        (lambda: certificate(ENROLMENT, ENROLMENT), "2 URI names"),
        (lambda: certificate(ENROLMENT, "https://data.example"), "2 URI names"),
        (lambda: certificate("spiffe://other.example/gateway/main"), "not in the trust domain"),
        (lambda: certificate(ENROLMENT, ca=True), "authority"),
        (lambda: certificate(ENROLMENT, usage=usage(key_cert_sign=True)), "may sign certificates"),
        (lambda: certificate(ENROLMENT, usage=usage(crl_sign=True)), "may sign certificates"),
        (lambda: certificate(ENROLMENT, usage=usage(digital_signature=False)), "digital signatures"),
    ],
)
def test_a_certificate_that_is_not_one_identity_is_nobody(
    make: Callable[[], x509.Certificate], why: str
) -> None:
    with pytest.raises(IdentityError, match=why):
        identity_of_certificate(make(), DOMAIN)


def test_the_peer_is_the_certificate_of_the_connection() -> None:
    leaf = certificate(ENROLMENT, usage=usage())
    peer = peer_identity(context(leaf, ENROLMENT), DOMAIN)
    assert peer.identity.uri == ENROLMENT
    assert peer.thumbprint == leaf.fingerprint(hashes.SHA256()).hex()
    assert peer.not_after == NOW + timedelta(hours=1)
    assert peer.certificate == leaf


def test_a_connection_without_exactly_one_of_each_property_is_nobody() -> None:
    leaf = certificate(ENROLMENT)
    pem = leaf.public_bytes(Encoding.PEM)
    for bad in (
        {},
        {"peer_spiffe_id": [ENROLMENT.encode()]},
        {"x509_pem_cert": [pem]},
        {"x509_pem_cert": [pem, pem], "peer_spiffe_id": [ENROLMENT.encode()]},
        context(leaf),
        context(leaf, ENROLMENT, ENROLMENT),
        context(leaf, "spiffe://data.example/gateway/main"),
        {"x509_pem_cert": [b"not a certificate"], "peer_spiffe_id": [ENROLMENT.encode()]},
    ):
        with pytest.raises(IdentityError):
            peer_identity(bad, DOMAIN)
        with pytest.raises(IdentityError):
            PeerResolver(DOMAIN, lambda: NOW).resolve(bad)


def test_a_remembered_certificate_does_not_vouch_for_another_spiffe_id() -> None:
    leaf = certificate(ENROLMENT)
    resolver = PeerResolver(DOMAIN, lambda: NOW)
    resolver.resolve(context(leaf, ENROLMENT))
    with pytest.raises(IdentityError, match="not the one in its certificate"):
        resolver.resolve(context(leaf, "spiffe://data.example/gateway/main"))


def test_a_connection_that_outlives_its_certificate_is_cut_off() -> None:
    moment = NOW
    resolver = PeerResolver(DOMAIN, lambda: moment)
    call = context(certificate(ENROLMENT), ENROLMENT)
    first = resolver.resolve(call)
    assert resolver.resolve(call) is first, "the certificate is parsed once"
    moment = NOW + timedelta(hours=1)
    assert resolver.resolve(call) is first, "notAfter itself is still valid (RFC 5280 section 4.1.2.5)"
    moment = NOW + timedelta(hours=1, seconds=1)
    with pytest.raises(IdentityError, match="expired"):
        resolver.resolve(call)


def test_the_memory_of_certificates_is_bounded() -> None:
    resolver = PeerResolver(DOMAIN, lambda: NOW, max_entries=2)
    calls = [context(certificate(ENROLMENT), ENROLMENT) for _ in range(3)]
    first = resolver.resolve(calls[0])
    for call in calls[1:]:
        resolver.resolve(call)
    assert resolver.resolve(calls[0]) is not first
