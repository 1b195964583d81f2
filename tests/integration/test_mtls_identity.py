"""Over real TLS: whoever is not exactly one identity of the trust domain does not get in."""

from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from isthmus import pki
from isthmus.identity import Identity, IdentityError, PeerResolver, Role

pytestmark = pytest.mark.integration

DOMAIN = "data.example"
GATEWAY = Identity(DOMAIN, Role.GATEWAY, None, "main")
SYSTEM = Identity(DOMAIN, Role.SYSTEM, "education", "enrolment")
SERVICE = "isthmus.test.Echo"
DEADLINE = 10


def who_am_i(resolver: PeerResolver) -> "grpc.GenericRpcHandler[bytes, bytes]":
    """A service that answers with the caller's identity as `resolver` sees it."""

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return resolver.resolve(context.auth_context()).identity.uri.encode()
        except IdentityError as error:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))

    handler = grpc.unary_unary_rpc_method_handler(answer)
    return grpc.method_handlers_generic_handler(SERVICE, {"WhoAmI": handler})


class Clock:
    """The real time, moved on when a test says so."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def ask(channel: grpc.Channel) -> bytes:
    call = channel.unary_unary(f"/{SERVICE}/WhoAmI", _unchanged, _unchanged)
    answer: bytes = call(b"", timeout=DEADLINE)
    return answer


def _unchanged(data: bytes) -> bytes:
    return data


@dataclass(frozen=True)
class Site:
    """A running gateway, its authority and its clock."""

    authority: pki.Authority
    folder: Path
    address: str
    clock: Clock

    def call(self, *, pem: tuple[bytes, bytes] | None, server: Identity = GATEWAY) -> bytes:
        key, certificate = pem or (None, None)
        ca = self.authority.certificate.public_bytes(Encoding.PEM)
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        with grpc.secure_channel(self.address, credentials, options=pki.pinned_to(server)) as channel:
            return ask(channel)

    def refused(self, *, pem: tuple[bytes, bytes] | None, server: Identity = GATEWAY) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as error:
            self.call(pem=pem, server=server)
        return error.value

    def client(
        self, *uris: str, signer: pki.Authority | None = None, age: timedelta = timedelta(0)
    ) -> tuple[bytes, bytes]:
        """A client certificate with any URIs, issued `age` ago for an hour."""
        signer = signer or self.authority
        key = ec.generate_private_key(ec.SECP256R1())
        issued = datetime.now(UTC) - age
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(signer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(issued - timedelta(minutes=1))
            .not_valid_after(issued + timedelta(hours=1))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        )
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names = names or [x509.DNSName("main.gateway.data.example")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), True)
        return _pem(builder.sign(signer.key, hashes.SHA256()), key)


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key_pem, certificate.public_bytes(Encoding.PEM)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    now = datetime.now(UTC)
    authority = pki.create_authority(DOMAIN, now=now)
    pki.save_authority(tmp_path, authority)
    certificate, key = pki.save_issued(tmp_path, GATEWAY, authority.issue(GATEWAY, now=now))
    clock = Clock()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((who_am_i(PeerResolver(DOMAIN, clock)),))
    credentials = pki.load_credentials(certificate, key, tmp_path / "ca.pem")
    port = server.add_secure_port("127.0.0.1:0", credentials.server_credentials())
    server.start()
    yield Site(authority, tmp_path, f"127.0.0.1:{port}", clock)
    server.stop(None).wait(DEADLINE)


def test_exactly_one_uri_is_the_caller(site: Site) -> None:
    assert site.call(pem=site.client(SYSTEM.uri)) == SYSTEM.uri.encode()


def test_credentials_from_files_reach_a_pinned_server_at_a_bare_address(site: Site) -> None:
    issued = site.authority.issue(SYSTEM, now=datetime.now(UTC))
    certificate, key = pki.save_issued(site.folder, SYSTEM, issued)
    credentials = pki.load_credentials(certificate, key, site.folder / "ca.pem")
    with grpc.secure_channel(
        site.address, credentials.channel_credentials(), options=pki.pinned_to(GATEWAY)
    ) as channel:
        assert ask(channel) == SYSTEM.uri.encode()


@pytest.mark.parametrize(
    ("uris", "why"),
    [
        ((SYSTEM.uri, GATEWAY.uri), "SPIFFE ID"),
        ((SYSTEM.uri, "https://data.example/"), "exactly one"),
        ((), "SPIFFE ID"),
        (("spiffe://other.example/department/education/system/enrolment",), "trust domain"),
        (("spiffe://data.example/admin/root",), "identity path"),
    ],
)
def test_a_certificate_of_the_authority_that_is_not_one_identity_is_refused(
    site: Site, uris: tuple[str, ...], why: str
) -> None:
    error = site.refused(pem=site.client(*uris))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert why in (error.details() or "")


def test_an_expired_certificate_is_refused(site: Site) -> None:
    assert (
        site.refused(pem=site.client(SYSTEM.uri, age=timedelta(hours=2))).code()
        is grpc.StatusCode.UNAVAILABLE
    )


def test_an_open_connection_is_refused_once_its_certificate_expires(site: Site) -> None:
    key, certificate = site.client(SYSTEM.uri)
    ca = site.authority.certificate.public_bytes(Encoding.PEM)
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    with grpc.secure_channel(site.address, credentials, options=pki.pinned_to(GATEWAY)) as channel:
        assert ask(channel) == SYSTEM.uri.encode()
        site.clock.ahead = timedelta(hours=2)
        with pytest.raises(grpc.RpcError) as error:
            ask(channel)
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_self_signed_certificate_is_refused(site: Site) -> None:
    stranger = pki.create_authority(DOMAIN, now=datetime.now(UTC))
    error = site.refused(pem=site.client(SYSTEM.uri, signer=stranger))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_a_caller_without_a_certificate_is_refused(site: Site) -> None:
    assert site.refused(pem=None).code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_that_expects_another_server_does_not_talk_to_this_one(site: Site) -> None:
    other = Identity(DOMAIN, Role.GATEWAY, None, "spare")
    assert site.refused(pem=site.client(SYSTEM.uri), server=other).code() is grpc.StatusCode.UNAVAILABLE
