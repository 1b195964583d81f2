"""Whether a certificate was issued by a trusted authority, one level deep (RFC 5280 section 6, X509-SVID).

Pure: no clock. The dates are returned, for the caller to compare with the moment that matters.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from isthmus.identity import Identity, IdentityError, identity_of_certificate

_STRONG_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD: Final = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
)


class TrustError(ValueError):
    """A certificate is not a leaf that a trusted authority issued. The message says why."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate that an authority issued, and the time during which both were valid (UTC)."""

    identity: Identity
    thumbprint: str
    not_before: datetime
    not_after: datetime
    public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class TrustAnchors:
    """The authorities of one trust domain.

    Raises:
        ValueError: there is none, or one of them may not sign certificates.
    """

    def __init__(self, certificates: Iterable[x509.Certificate], trust_domain: str) -> None:
        self._anchors = tuple(certificates)
        self._trust_domain = trust_domain
        if not self._anchors:
            raise ValueError("at least one certificate of an authority is needed to verify anything")
        for anchor in self._anchors:
            _require_authority(anchor)

    def verify(self, der: bytes) -> Leaf:
        """Returns the leaf in `der`.

        Raises:
            TrustError: unreadable, not exactly one SPIFFE identity, an authority itself, not issued by one
                of the authorities, a key or hash that is not accepted, a critical extension that is not
                understood, or an extended key usage without clientAuth.
        """
        try:
            certificate = x509.load_der_x509_certificate(der)
            identity = identity_of_certificate(certificate, self._trust_domain)
            anchor = self._issuer(certificate)
            _check_extensions(certificate.extensions)
            public_key = _public_key(certificate)
        except IdentityError as error:
            raise TrustError(str(error)) from error
        except TrustError:
            raise
        except (ValueError, x509.UnsupportedGeneralNameType) as error:
            raise TrustError("the certificate cannot be read") from error
        return Leaf(
            identity=identity,
            thumbprint=certificate.fingerprint(hashes.SHA256()).hex(),
            not_before=max(certificate.not_valid_before_utc, anchor.not_valid_before_utc),
            not_after=min(certificate.not_valid_after_utc, anchor.not_valid_after_utc),
            public_key=public_key,
        )

    def _issuer(self, certificate: x509.Certificate) -> x509.Certificate:
        for anchor in self._anchors:
            try:
                certificate.verify_directly_issued_by(anchor)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return anchor
        raise TrustError("the certificate was not issued by a trusted authority")


def _require_authority(certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise ValueError("an authority's certificate needs basic constraints and a key usage") from error
    if not constraints.ca or not usage.key_cert_sign:
        raise ValueError("a certificate that may not sign certificates was given as an authority")


def _check_extensions(extensions: x509.Extensions) -> None:
    for extension in extensions:
        value = extension.value
        if extension.critical and not isinstance(value, _UNDERSTOOD):
            raise TrustError(f"the critical extension {extension.oid.dotted_string} is not understood")
        if isinstance(value, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH not in value:
            raise TrustError("the certificate's extended key usage lacks clientAuth, so it may not sign")


def _public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, _STRONG_HASHES):
        raise TrustError(f"the certificate is signed with {algorithm.name}; SHA-256 or stronger is required")
    key = certificate.public_key()
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise TrustError("the certificate's key is neither P-256 nor Ed25519")
