"""Who a party is: the one SPIFFE URI in its X.509 certificate, and nothing else.

Sources: SPIFFE-ID and X509-SVID (github.com/spiffe/spiffe, standards/), AIP-122 for resource names. Where
SPIFFE leaves room Isthmus is stricter: one trust domain, lower-case slugs, a fixed set of paths. gRPC
completes a handshake with a certificate of two URIs; here such a certificate is nobody.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

SLUG: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
"""The pattern of every name inside an identity; it is also a DNS label."""

MAX_TRUST_DOMAIN: Final = 100
"""Characters of a trust domain; leaves room for every `server_name` in the 253 of DNS."""

AuthContext = Mapping[str, Any]
"""What gRPC's `auth_context()` returns: str to an iterable of bytes, although its stubs say bytes."""

_SLUG = re.compile(SLUG)
_TRUST_DOMAIN = re.compile(rf"{SLUG}(?:\.{SLUG})*")
_DEPARTMENTAL = re.compile(rf"/department/({SLUG})/(system|node|officer)/({SLUG})")
_STANDALONE = re.compile(rf"/(gateway|audit|auditor|operator|portal)/({SLUG})")
_MAX_QUOTED = 160


class IdentityError(ValueError):
    """A name, certificate or peer is not exactly one identity of the trust domain. The message says why."""


class Role(StrEnum):
    """What a party may be; the word is the one in its SPIFFE path."""

    SYSTEM = "system"
    NODE = "node"
    OFFICER = "officer"
    GATEWAY = "gateway"
    AUDIT = "audit"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    PORTAL = "portal"

    @property
    def departmental(self) -> bool:
        """Whether an identity of this role belongs to a department."""
        return self in _DEPARTMENTAL_ROLES


_DEPARTMENTAL_ROLES: Final = frozenset({Role.SYSTEM, Role.NODE, Role.OFFICER})

SERVING_ROLES: Final = frozenset({Role.GATEWAY, Role.AUDIT, Role.NODE})
"""The roles that accept connections, and so carry a `server_name` in their certificates."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One party: `spiffe://<trust_domain>/department/<department>/<role>/<name>` or `…/<role>/<name>`.

    Raises:
        IdentityError: on construction, when a part is not a slug, the trust domain is not a lower-case DNS
            name, or a department is missing or out of place.
    """

    trust_domain: str
    role: Role
    department: str | None
    name: str

    def __post_init__(self) -> None:
        require_trust_domain(self.trust_domain)
        for part in (self.name,) if self.department is None else (self.name, self.department):
            if not _SLUG.fullmatch(part):
                raise IdentityError(
                    f"{_quote(part)} is not a slug: 1 to 63 of a-z, 0-9 and '-', no '-' at either end"
                )
        if self.role.departmental != (self.department is not None):
            rule = "needs a department" if self.role.departmental else "belongs to no department"
            raise IdentityError(f"the role {self.role.value} {rule}")

    @classmethod
    def parse(cls, uri: str, *, trust_domain: str) -> "Identity":
        """Reads a SPIFFE ID strictly: no port, user, query, fragment, escape, capital or trailing slash.

        Raises:
            IdentityError: `uri` is not an identity of `trust_domain`.
        """
        prefix = f"spiffe://{require_trust_domain(trust_domain)}"
        if not uri.startswith(prefix + "/"):
            raise IdentityError(f"{_quote(uri)} is not in the trust domain {trust_domain}")
        return cls.parse_path(uri[len(prefix) :], trust_domain=trust_domain)

    @classmethod
    def parse_path(cls, path: str, *, trust_domain: str) -> "Identity":
        """Reads the path of a SPIFFE ID, such as `/department/education/system/enrolment`.

        Raises:
            IdentityError: `path` is none of the paths Isthmus knows.
        """
        if match := _DEPARTMENTAL.fullmatch(path):
            return cls(trust_domain, Role(match[2]), match[1], match[3])
        if match := _STANDALONE.fullmatch(path):
            return cls(trust_domain, Role(match[1]), None, match[2])
        raise IdentityError(
            f"{_quote(path)} is not an identity path: /department/<d>/{{system|node|officer}}/<n> or "
            "/{gateway|audit|auditor|operator|portal}/<n>, in lower-case slugs"
        )

    @property
    def path(self) -> str:
        """The path of the SPIFFE ID."""
        if self.department is None:
            return f"/{self.role.value}/{self.name}"
        return f"/department/{self.department}/{self.role.value}/{self.name}"

    @property
    def uri(self) -> str:
        """The SPIFFE ID."""
        return f"spiffe://{self.trust_domain}{self.path}"

    @property
    def resource(self) -> str:
        """The AIP-122 resource name, such as `departments/education/systems/enrolment` or `gateways/main`."""
        own = f"{self.role.value}s/{self.name}"
        return own if self.department is None else f"departments/{self.department}/{own}"


def require_trust_domain(trust_domain: str) -> str:
    """Returns `trust_domain` unchanged.

    Raises:
        IdentityError: it is not a lower-case DNS name of at most `MAX_TRUST_DOMAIN` characters.
    """
    if len(trust_domain) > MAX_TRUST_DOMAIN or not _TRUST_DOMAIN.fullmatch(trust_domain):
        raise IdentityError(
            f"{_quote(trust_domain)} is not a trust domain: a lower-case DNS name of at most "
            f"{MAX_TRUST_DOMAIN} characters, such as data.example"
        )
    return trust_domain


def server_name(identity: Identity) -> str:
    """Returns the DNS name that stands for `identity` in server certificates.

    `main.gateway.<trust domain>`, `n1.node.education.<trust domain>`. The name is never resolved. A client
    that passes it as the channel option `grpc.ssl_target_name_override` may dial any address and is still
    sure which server answers, because the CA puts the name into that one server's certificates only. Two
    identities never share a name.

    Raises:
        IdentityError: the role of `identity` accepts no connections.
    """
    if identity.role not in SERVING_ROLES:
        raise IdentityError(f"the role {identity.role.value} is not a server and has no server name")
    parts = (identity.name, identity.role.value, identity.department, identity.trust_domain)
    return ".".join(part for part in parts if part is not None)


def identity_of_certificate(certificate: x509.Certificate, trust_domain: str) -> Identity:
    """Returns the identity an end-entity certificate states; it does not check who signed it, or its dates.

    Raises:
        IdentityError: not exactly one URI name, not an identity of `trust_domain`, or a certificate that may
            sign others (X509-SVID section 5.2: validators MUST refuse it as a leaf).
    """
    try:
        extensions = certificate.extensions
    except (ValueError, x509.DuplicateExtension) as error:
        raise IdentityError("the certificate's extensions cannot be read") from error
    _refuse_authority(extensions)
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise IdentityError(
            "the certificate has no subject alternative name; it needs one SPIFFE URI"
        ) from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise IdentityError(f"the certificate has {len(uris)} URI names; exactly one SPIFFE URI is accepted")
    return Identity.parse(uris[0], trust_domain=trust_domain)


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of an authenticated connection.

    `thumbprint` is the SHA-256 of the certificate's DER in lower-case hexadecimal; `not_after` is UTC.
    """

    identity: Identity
    thumbprint: str
    not_after: datetime
    certificate: x509.Certificate


def peer_identity(auth_context: AuthContext, trust_domain: str) -> Peer:
    """Returns the peer of a gRPC call, from `ServicerContext.auth_context()` and nothing else.

    The server must have been made with `require_client_auth=True`: then gRPC has verified chain and dates
    at the handshake. Dates are not checked here; `PeerResolver` does that for every call.

    Raises:
        IdentityError: no certificate, more than one, or not exactly one identity of `trust_domain`.
    """
    pem, spiffe_id = _sole_properties(auth_context)
    peer = _peer_of_pem(pem, trust_domain)
    _require_same(peer, spiffe_id)
    return peer


class PeerResolver:
    """Finds the peer of every call; parses each certificate once and checks its expiry every time.

    Args:
        trust_domain: the only trust domain accepted.
        clock: returns the present time, UTC-aware.
        max_entries: how many certificates are remembered; the least recently used goes first.
    """

    def __init__(self, trust_domain: str, clock: Callable[[], datetime], *, max_entries: int = 4096) -> None:
        domain = require_trust_domain(trust_domain)
        self._clock = clock
        # Failures are not remembered, so a flood of bad certificates cannot evict good ones.
        self._peer_of_pem = lru_cache(maxsize=max_entries)(lambda pem: _peer_of_pem(pem, domain))

    def resolve(self, auth_context: AuthContext) -> Peer:
        """Returns the peer; safe to call from many threads.

        Raises:
            IdentityError: as `peer_identity`, or the certificate has expired since the handshake.
        """
        pem, spiffe_id = _sole_properties(auth_context)
        peer = self._peer_of_pem(pem)
        _require_same(peer, spiffe_id)
        if self._clock() > peer.not_after:
            raise IdentityError(
                f"the certificate of {peer.identity.resource} expired at {peer.not_after.isoformat()}; "
                "renew it and connect again"
            )
        return peer


def _refuse_authority(extensions: x509.Extensions) -> None:
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise IdentityError("a certification authority's certificate is not an identity")
        if isinstance(value, x509.KeyUsage):
            if value.key_cert_sign or value.crl_sign:
                raise IdentityError("a certificate that may sign certificates or CRLs is not an identity")
            if not value.digital_signature:
                raise IdentityError("the certificate's key usage does not allow digital signatures")


def _sole_properties(auth_context: AuthContext) -> tuple[bytes, bytes]:
    certificates: tuple[bytes, ...] = tuple(auth_context.get("x509_pem_cert", ()))
    if len(certificates) != 1:
        raise IdentityError(
            f"the connection presents {len(certificates)} certificates; mutual TLS with exactly one is required"
        )
    # gRPC leaves this property out when a certificate has several URIs.
    spiffe_ids: tuple[bytes, ...] = tuple(auth_context.get("peer_spiffe_id", ()))
    if len(spiffe_ids) != 1:
        raise IdentityError(
            f"the connection shows {len(spiffe_ids)} SPIFFE IDs; the certificate must hold exactly one URI"
        )
    return certificates[0], spiffe_ids[0]


def _peer_of_pem(pem: bytes, trust_domain: str) -> Peer:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityError("the peer's certificate cannot be read") from error
    return Peer(
        identity=identity_of_certificate(certificate, trust_domain),
        thumbprint=certificate.fingerprint(hashes.SHA256()).hex(),
        not_after=certificate.not_valid_after_utc,
        certificate=certificate,
    )


def _require_same(peer: Peer, spiffe_id: bytes) -> None:
    if spiffe_id != peer.identity.uri.encode("ascii"):
        raise IdentityError("the connection's SPIFFE ID is not the one in its certificate")


def _quote(text: str) -> str:
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…")
