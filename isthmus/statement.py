"""What a party states, signed: contract terms, a consent, a grant, a provider's receipt, a control order.

A statement is a compact JWS (RFC 7515) over canonical JSON (RFC 8785) with the signer's certificate in its
header, so any JOSE library can check it years later. The header has exactly four members:

    alg       ES256 (RFC 7518); EdDSA (RFC 8037) and Ed25519 (RFC 9864) are accepted when verifying
    typ       the kind, so that one kind never passes for another (RFC 8725 section 3.11)
    x5c       [leaf certificate, DER in base64]; nothing of it is believed before the CA's signature on it is
    x5t#S256  the leaf's thumbprint

Anything else, `crit`, `jwk`, `jku`, `x5u`, `kid` or `b64`, is refused: a key never comes from the message.
"""

import base64
import binascii
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import JWSRegistry

from isthmus.canonical import CanonicalError, canonical_json, parse_canonical, parse_json, sha256_hex
from isthmus.identity import Identity, Role, require_trust_domain
from isthmus.pki.credentials import Credentials
from isthmus.trust import Leaf, TrustAnchors, TrustError

MAX_STATEMENT_BYTES: Final = 256 * 1024
"""How large a compact token is read unless the caller says otherwise."""

_MAX_HEADER_CHARACTERS: Final = 8192
_HEADER_MEMBERS: Final = frozenset({"alg", "typ", "x5c", "x5t#S256"})


class StatementKind(StrEnum):
    """What is stated; the value is the `typ` header."""

    CONTRACT = "isthmus-contract+jws"
    CONSENT = "isthmus-consent+jws"
    GRANT = "isthmus-grant+jws"
    RECEIPT = "isthmus-receipt+jws"
    CONTROL = "isthmus-control+jws"


class StatementFault(StrEnum):
    """Which rule a refused statement breaks."""

    SIZE = "size"
    FORM = "form"
    HEADER = "header"
    ALGORITHM = "algorithm"
    KIND = "kind"
    CERTIFICATE = "certificate"
    VALIDITY = "validity"
    ROLE = "role"
    SIGNATURE = "signature"
    PAYLOAD = "payload"


class StatementError(ValueError):
    """A statement is refused. `fault` is the rule; the message says what was found and what would pass."""

    def __init__(self, fault: StatementFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Verified:
    """A statement that holds.

    `thumbprint` is the SHA-256 of the signer's certificate, `digest` that of the compact token, both in
    lower-case hexadecimal. A digest names one token; a signer can make several tokens of one payload, so
    a caller that must not accept a statement twice MUST compare an id inside the payload.
    """

    payload: dict[str, Any]
    identity: Identity
    thumbprint: str
    digest: str


def sign(payload: Mapping[str, Any], kind: StatementKind, credentials: Credentials) -> str:
    """Returns `payload` as a compact JWS, signed ES256 with the key of `credentials`.

    Raises:
        TypeError, CanonicalError: `payload` has no canonical form.
    """
    return sign_document(canonical_json(dict(payload)), kind, credentials)


def sign_document(document: bytes, kind: StatementKind, credentials: Credentials) -> str:
    """Returns a payload that is in canonical form already, as `sign` does. Whoever reads it checks that it is."""
    signed = (
        f"{_protected(kind, credentials.certificate_base64, credentials.thumbprint)}.{_base64url(document)}"
    )
    signature = JWSRegistry.algorithms["ES256"].sign(signed.encode("ascii"), _key(credentials))
    return f"{signed}.{_base64url(signature)}"


# The library describes a key anew for each object made of it, which takes longer than to sign.
@lru_cache(maxsize=64)
def _key(credentials: Credentials) -> ECKey:
    return ECKey(credentials.key, credentials.key)


@lru_cache(maxsize=64)
def _protected(kind: StatementKind, certificate: str, thumbprint: str) -> str:
    header = {
        "alg": "ES256",
        "typ": kind.value,
        "x5c": [certificate],
        "x5t#S256": _base64url(bytes.fromhex(thumbprint)),
    }
    return _base64url(canonical_json(header))


@dataclass(frozen=True, slots=True)
class _Header:
    algorithm: str
    kind: StatementKind
    leaf: Leaf
    key: ECKey | OKPKey


class StatementVerifier:
    """Checks statements against the trust anchors; safe to use from many threads.

    Args:
        ca_certificates: the authorities that sign leaves directly.
        trust_domain: the only trust domain accepted.
        clock: returns the present time, UTC-aware.
        max_entries: how many signers' headers are remembered. What is remembered is that the authority
            signed a certificate; its dates are checked every time.

    Raises:
        ValueError: no authority, or a certificate among them that may not sign certificates.
    """

    def __init__(
        self,
        ca_certificates: Iterable[x509.Certificate],
        trust_domain: str,
        *,
        clock: Callable[[], datetime],
        max_entries: int = 4096,
    ) -> None:
        self._anchors = TrustAnchors(ca_certificates, require_trust_domain(trust_domain))
        self._clock = clock
        self._header = lru_cache(maxsize=max_entries)(self._read_header)

    def verify(
        self,
        token: str,
        *,
        kind: StatementKind,
        expect_role: Role | Collection[Role],
        max_bytes: int = MAX_STATEMENT_BYTES,
        at: datetime | None = None,
    ) -> Verified:
        """Returns what `token` states and who states it.

        Args:
            token: a compact JWS.
            kind: what it must be.
            expect_role: the role, or roles, whose signature counts.
            max_bytes: the largest token read, in bytes.
            at: the time at which the certificate must have been valid; the clock's when left out. Pass
                the recorded time of an old statement, never a time the statement itself gives.

        Raises:
            StatementError: any rule does not hold. Whether the certificate was denied later is not known
                here: callers compare `thumbprint` with their denylist.
        """
        segment, signed, payload, signature = _split(token, max_bytes)
        header = self._header(segment)
        if header.kind is not kind:
            raise StatementError(StatementFault.KIND, f"the statement is {header.kind}, not {kind}")
        _require_role(header.leaf.identity, expect_role)
        self._require_valid(header.leaf, at)
        # The allow-list has already chosen; get_alg() would only warn at every use of EdDSA.
        if not JWSRegistry.algorithms[header.algorithm].verify(signed, signature, header.key):
            raise StatementError(
                StatementFault.SIGNATURE,
                f"the signature is not by the certificate of {header.leaf.identity.resource}",
            )
        return Verified(
            payload=_read_payload(payload, max_bytes),
            identity=header.leaf.identity,
            thumbprint=header.leaf.thumbprint,
            digest=sha256_hex(token.encode("ascii")),
        )

    def _read_header(self, segment: str) -> _Header:
        members = _header_members(segment)
        leaf = self._leaf(members["x5c"])
        if members["x5t#S256"] != _base64url(bytes.fromhex(leaf.thumbprint)):
            raise StatementError(
                StatementFault.HEADER, "x5t#S256 is not the thumbprint of the certificate in x5c"
            )
        return _Header(members["alg"], _kind(members["typ"]), leaf, _verification_key(members["alg"], leaf))

    def _leaf(self, chain: list[str]) -> Leaf:
        try:
            der = base64.b64decode(chain[0], validate=True)
        except (binascii.Error, ValueError):
            raise StatementError(StatementFault.HEADER, "x5c is not standard base64") from None
        try:
            return self._anchors.verify(der)
        except TrustError as error:
            raise StatementError(StatementFault.CERTIFICATE, str(error)) from error

    def _require_valid(self, leaf: Leaf, at: datetime | None) -> None:
        moment = self._clock() if at is None else at
        if not leaf.not_before <= moment <= leaf.not_after:
            raise StatementError(
                StatementFault.VALIDITY,
                f"the certificate of {leaf.identity.resource} is valid from {leaf.not_before.isoformat()} to "
                f"{leaf.not_after.isoformat()}, not at {moment.isoformat()}",
            )


def _split(token: str, max_bytes: int) -> tuple[str, bytes, bytes, bytes]:
    """Returns the header segment, the signing input, the payload and the signature."""
    if len(token) > max_bytes:
        raise StatementError(
            StatementFault.SIZE, f"the statement has {len(token)} characters; at most {max_bytes} are read"
        )
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise StatementError(StatementFault.FORM, "a statement is a compact JWS: three parts of base64url")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    return parts[0], signed, _from_base64url(parts[1]), _from_base64url(parts[2])


def _header_members(segment: str) -> dict[str, Any]:
    if len(segment) > _MAX_HEADER_CHARACTERS:
        raise StatementError(
            StatementFault.SIZE, f"the header is longer than {_MAX_HEADER_CHARACTERS} characters"
        )
    try:
        members = parse_json(_from_base64url(segment), max_depth=4)
    except (CanonicalError, TypeError) as error:
        raise StatementError(StatementFault.HEADER, f"the header cannot be read: {error}") from None
    if not isinstance(members, dict) or members.keys() != _HEADER_MEMBERS:
        raise StatementError(
            StatementFault.HEADER,
            "the header must have exactly alg, typ, x5c and x5t#S256; no crit, jwk, jku, x5u, kid or b64",
        )
    chain = members["x5c"]
    texts = (members["alg"], members["typ"], members["x5t#S256"])
    if not all(isinstance(text, str) for text in texts):
        raise StatementError(StatementFault.HEADER, "alg, typ and x5t#S256 must be text")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise StatementError(StatementFault.HEADER, "x5c must hold exactly one certificate, the signer's own")
    return members


def _kind(typ: str) -> StatementKind:
    try:
        return StatementKind(typ)
    except ValueError:
        raise StatementError(
            StatementFault.KIND, f"typ must be one of {', '.join(kind.value for kind in StatementKind)}"
        ) from None


def _verification_key(algorithm: str, leaf: Leaf) -> ECKey | OKPKey:
    """Takes the algorithm from the key, and the header's word only if it agrees (RFC 8725 section 3.1)."""
    public_key = leaf.public_key
    accepted = ("ES256",) if isinstance(public_key, ec.EllipticCurvePublicKey) else ("EdDSA", "Ed25519")
    if algorithm not in accepted:
        raise StatementError(
            StatementFault.ALGORITHM, f"alg must be {' or '.join(accepted)} for the key in this certificate"
        )
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return ECKey(public_key, public_key)
    return OKPKey(public_key, public_key)


def _require_role(identity: Identity, expected: Role | Collection[Role]) -> None:
    roles = (expected,) if isinstance(expected, Role) else tuple(expected)
    if identity.role not in roles:
        names = " or ".join(sorted(role.value for role in roles)) or "nobody"
        raise StatementError(
            StatementFault.ROLE, f"{identity.resource} signed it, where the signature of {names} is required"
        )


def _read_payload(data: bytes, max_bytes: int) -> dict[str, Any]:
    try:
        payload = parse_canonical(data, max_bytes=max_bytes)
    except (CanonicalError, TypeError) as error:
        raise StatementError(StatementFault.PAYLOAD, f"the payload is refused: {error}") from None
    if not isinstance(payload, dict):
        raise StatementError(StatementFault.PAYLOAD, "the payload is not an object")
    return payload


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_base64url(text: str) -> bytes:
    """Reads base64url without padding (RFC 7515 section 2), in its only spelling."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        data = b""
    # Unused trailing bits, '+', '/' and padding all decode too; re-encoding leaves one spelling.
    if _base64url(data) != text:
        raise StatementError(StatementFault.FORM, "a statement is three parts of base64url without padding")
    return data
