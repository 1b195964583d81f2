"""The certificate, key and trust anchors a process presents and believes.

Pinning. gRPC checks that a server's certificate holds the name the client asked for. Clients of Isthmus ask
for `server_name(identity)` instead of a host name::

    grpc.secure_channel("10.0.0.7:8443", credentials.channel_credentials(), options=pinned_to(gateway))

so the address may be anything and the answer still comes from that one identity.
"""

import base64
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from isthmus.identity import Identity, identity_of_certificate, server_name

MAX_FILE_BYTES: Final = 1 << 20


class CredentialsError(ValueError):
    """A certificate or key file cannot be used. The message names the file and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Credentials:
    """A party's certificate chain, private key and trust anchors, as PEM and parsed.

    `certificate` is the leaf, the first certificate of the chain. Neither PEM nor key appears in `repr`.
    """

    certificate_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    ca_pem: bytes = field(repr=False)
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate
    ca_certificates: tuple[x509.Certificate, ...]

    @cached_property
    def thumbprint(self) -> str:
        """SHA-256 of the leaf's DER, lower-case hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @cached_property
    def certificate_base64(self) -> str:
        """The leaf's DER in standard base64, as the `x5c` header of RFC 7515 section 4.1.6 wants it."""
        return base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode("ascii")

    def identity(self, trust_domain: str) -> Identity:
        """Returns who these credentials are.

        Raises:
            IdentityError: the certificate is not exactly one identity of `trust_domain`.
        """
        return identity_of_certificate(self.certificate, trust_domain)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Returns credentials for a server that refuses clients without a certificate of the trust anchors."""
        pair = [(self.key_pem, self.certificate_pem)]
        return grpc.ssl_server_credentials(pair, root_certificates=self.ca_pem, require_client_auth=True)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Returns credentials for a client; use them with `pinned_to` the server's identity."""
        return grpc.ssl_channel_credentials(self.ca_pem, self.key_pem, self.certificate_pem)


def pinned_to(server: Identity) -> tuple[tuple[str, str], ...]:
    """Returns the channel options that let a channel talk to `server` and nobody else, at any address.

    Raises:
        IdentityError: the role of `server` accepts no connections.
    """
    return (("grpc.ssl_target_name_override", server_name(server)),)


def load_credentials(certificate: str | Path, key: str | Path, ca: str | Path) -> Credentials:
    """Reads PEM files: the leaf (a chain may follow), its unencrypted P-256 key, and the trust anchors.

    Dates and issuer are left to the other party, who checks them against its own clock and anchors.

    Raises:
        CredentialsError: a file is missing, unreadable, too large, or does not hold what it should; or the
            key is not the certificate's.
    """
    certificate_pem, key_pem, ca_pem = (_read(Path(path)) for path in (certificate, key, ca))
    leaf = _certificates(certificate_pem, certificate)[0]
    private_key = load_private_key(key_pem, key)
    if _public_bytes(leaf) != private_key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        raise CredentialsError(f"{key}: this is not the private key of the certificate in {certificate}")
    anchors = _certificates(ca_pem, ca)
    for anchor in anchors:
        _require_authority(anchor, ca)
    return Credentials(certificate_pem, key_pem, ca_pem, private_key, leaf, anchors)


def load_private_key(pem: bytes, path: str | Path) -> ec.EllipticCurvePrivateKey:
    """Reads an unencrypted P-256 private key; `path` is only named in errors.

    Raises:
        CredentialsError: it is anything else.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise CredentialsError(
            f"{path}: the private key is encrypted; give it without a passphrase"
        ) from None
    except ValueError:
        raise CredentialsError(f"{path}: no PEM private key can be read from it") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CredentialsError(f"{path}: the private key is not on the curve P-256, which ES256 signs with")
    return key


def load_certificates(path: str | Path) -> tuple[x509.Certificate, ...]:
    """Reads every certificate of a PEM file, at least one.

    Raises:
        CredentialsError: missing, unreadable, too large, or no certificate in it.
    """
    return _certificates(_read(Path(path)), path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror or 'unknown error'}") from error
    if len(data) > MAX_FILE_BYTES:
        raise CredentialsError(f"{path}: larger than {MAX_FILE_BYTES} bytes, so it is no certificate or key")
    return data


def _certificates(pem: bytes, path: str | Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise CredentialsError(f"{path}: no PEM certificate can be read from it") from None


def _require_authority(certificate: x509.Certificate, path: str | Path) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        raise CredentialsError(f"{path}: holds a certificate that is not an authority's") from None
    if not constraints.ca:
        raise CredentialsError(f"{path}: holds a certificate that is not an authority's")


def _public_bytes(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
