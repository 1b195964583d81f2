"""A development certification authority. It holds one EC P-256 key and signs leaves directly.

What a certificate of Isthmus holds, whoever issues it (X509-SVID, RFC 5280):

- exactly one URI name, the SPIFFE ID; basic constraints CA=false; key usage digitalSignature and neither
  keyCertSign nor cRLSign; extended key usage serverAuth and clientAuth; a P-256 key;
- a GATEWAY, AUDIT or NODE certificate also holds the DNS name `server_name(identity)`, and no other
  certificate may hold it: clients pin servers by that name.

The authority's own certificate carries `spiffe://<trust domain>`, CA=true and path length 0.
"""

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.identity import SERVING_ROLES, SLUG, Identity, Role, require_trust_domain, server_name

AUTHORITY_LIFETIME: Final = timedelta(days=365)
LEAF_LIFETIME: Final = timedelta(hours=24)

# Two machines' clocks differ a little; a certificate must work on both the moment it is issued.
_BACKDATE = timedelta(minutes=1)
_MIN_LIFETIME = timedelta(minutes=1)
_MAX_LIFETIME = timedelta(days=7305)
_MAX_HOSTS = 32
_HOST = re.compile(rf"{SLUG}(?:\.{SLUG})*")
_RESERVED_LABELS = frozenset(role.value for role in Role)


class PkiError(ValueError):
    """The authority refuses to do what was asked. The message says by which rule and what would pass."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate and its private key; print or log neither object's key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A certification authority of one trust domain."""

    trust_domain: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def issue(
        self,
        identity: Identity,
        *,
        now: datetime,
        lifetime: timedelta = LEAF_LIFETIME,
        hosts: tuple[str, ...] = (),
    ) -> Issued:
        """Makes a key and a certificate for `identity`.

        Args:
            identity: of this authority's trust domain.
            now: UTC-aware; the certificate is valid from one minute before.
            lifetime: how long it is valid, at least a minute, within the authority's own.
            hosts: further DNS names and IP addresses, for servers that are dialled without a pin.

        Raises:
            PkiError: one of these rules does not hold.
        """
        if identity.trust_domain != self.trust_domain:
            raise PkiError(f"this authority issues for {self.trust_domain} only, not {identity.trust_domain}")
        _require_lifetime(lifetime)
        not_after = now + lifetime
        if not_after > self.certificate.not_valid_after_utc:
            raise PkiError(
                "the certificate would outlive the authority, which expires at "
                f"{self.certificate.not_valid_after_utc.isoformat()}; ask for less or renew the authority"
            )
        names = _alternative_names(identity, hosts)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _leaf_builder(identity, key.public_key(), names)
        certificate = (
            builder.issuer_name(self.certificate.subject)
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(not_after)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
            .sign(self.key, hashes.SHA256())
        )
        return Issued(certificate, key)


def create_authority(
    trust_domain: str, *, now: datetime, lifetime: timedelta = AUTHORITY_LIFETIME
) -> Authority:
    """Makes a new authority for `trust_domain`; `now` is UTC-aware.

    Raises:
        IdentityError: `trust_domain` is not a lower-case DNS name.
        PkiError: `lifetime` is shorter than a minute or longer than twenty years.
    """
    require_trust_domain(trust_domain)
    _require_lifetime(lifetime)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(trust_domain, "Isthmus development CA")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(_key_usage(authority=True), True)
        .add_extension(_uri_name(f"spiffe://{trust_domain}"), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    return Authority(trust_domain, certificate, key)


def _require_lifetime(lifetime: timedelta) -> None:
    if not _MIN_LIFETIME <= lifetime <= _MAX_LIFETIME:
        raise PkiError(f"a lifetime must be from one minute to {_MAX_LIFETIME.days} days")


def _alternative_names(identity: Identity, hosts: tuple[str, ...]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    if identity.role in SERVING_ROLES:
        names.append(x509.DNSName(server_name(identity)))
    elif hosts:
        raise PkiError(
            f"the role {identity.role.value} accepts no connections, so its certificate holds no host names"
        )
    if len(hosts) > _MAX_HOSTS:
        raise PkiError(f"{len(hosts)} hosts were given; a certificate holds at most {_MAX_HOSTS}")
    for host in dict.fromkeys(hosts):
        names.append(_host_name(host, identity.trust_domain))
    return names


def _host_name(host: str, trust_domain: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise PkiError(f"{host[:80]!r} is neither an IP address nor a lower-case DNS name without wildcards")
    # Whoever holds such a name could pass for the server that clients pin by it.
    if host.endswith("." + trust_domain):
        labels = host.removesuffix("." + trust_domain).split(".")
        if len(labels) in (2, 3) and labels[1] in _RESERVED_LABELS:
            raise PkiError(f"{host!r} is the server name of an identity; it is added for that identity alone")
    return x509.DNSName(host)


def _leaf_builder(
    identity: Identity, key: ec.EllipticCurvePublicKey, names: list[x509.GeneralName]
) -> x509.CertificateBuilder:
    both_ends = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(_name(identity.trust_domain, identity.name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(_key_usage(authority=False), True)
        .add_extension(x509.ExtendedKeyUsage(both_ends), False)
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _name(trust_domain: str, common_name: str) -> x509.Name:
    # For human readers only; X.520 allows 64 characters. Nothing in Isthmus reads the subject.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _uri_name(uri: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
