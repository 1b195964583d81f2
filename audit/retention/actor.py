"""Who destroys: an identity that proved that it holds the key of its certificate."""

from dataclasses import dataclass

import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding

from audit.retention.rule import RetentionRefused
from audit.search.query import is_denied
from isthmus.identity import Role
from isthmus.pki import Credentials
from isthmus.trust import TrustAnchors, TrustError

_KEEPERS = frozenset({Role.AUDIT, Role.AUDITOR})


@dataclass(frozen=True, slots=True)
class Actor:
    """The SPIFFE ID of who acts, and the thumbprint of the certificate."""

    uri: str
    certificate: str

    @classmethod
    def of(cls, credentials: Credentials, trust_domain: str) -> "Actor":
        """Whoever holds these credentials.

        Raises:
            RetentionRefused: no trusted authority issued the certificate, or it is that of another role: who runs the
                platform destroys no evidence about it (三员分立).
        """
        try:
            anchors = TrustAnchors(credentials.ca_certificates, trust_domain)
            leaf = anchors.verify(credentials.certificate.public_bytes(Encoding.DER))
        except TrustError as error:
            raise RetentionRefused(f"the certificate is not trusted: {error}") from None
        if leaf.identity.role not in _KEEPERS:
            raise RetentionRefused(
                f"{leaf.identity.resource} may not destroy what the log keeps; an auditor or the audit service may"
            )
        return cls(leaf.identity.uri, leaf.thumbprint)

    def require_not_denied(self, connection: sa.Connection) -> None:
        """Return only if the certificate was not denied. Raises RetentionRefused."""
        if is_denied(connection, self.certificate):
            raise RetentionRefused("the certificate was denied; take a new one")
