"""Certificates that count no longer. Once a denial has returned, nothing is decided in the certificate's favour.

The list is read again in every transaction that decides something, so a denial is a fence like a withdrawal.
"""

import hashlib
import re
import secrets
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from audit.ledger import Ledger, Transaction
from audit.record import AccessRecord, Kind
from gateway.state.prepared import Prepared
from gateway.state.schema import denied_certificates
from gateway.state.times import to_ms
from isthmus.errors import InvalidArgument
from isthmus.identity import Identity
from isthmus.ids import new_exchange

_THUMBPRINT: Final = re.compile("[0-9a-f]{64}")
_MAX_REASON: Final = 1024


_LISTED: Final = Prepared(
    lambda wanted: sa.select(denied_certificates.c.thumbprint).where(wanted),
    [denied_certificates.c.thumbprint],
)


def denied(conn: sa.Connection, thumbprints: Collection[str]) -> frozenset[str]:
    """Returns those of `thumbprints` that are on the list."""
    return frozenset(row[0] for row in _LISTED.rows(conn, sorted(set(thumbprints))))


def deny_certificate(ledger: Ledger, thumbprint: str, reason: str, actor: Identity) -> int:
    """Puts a certificate on the list for good; a second time changes nothing.

    Args:
        ledger: the ledger of the gateways.
        thumbprint: SHA-256 of the certificate's DER, 64 lower-case hexadecimal digits.
        reason: why, in words; no personal data, because it is kept in the record.
        actor: who denies it.

    Returns:
        The ledger position of the denial: no ALLOW record for the certificate has a higher one.

    Raises:
        InvalidArgument: no thumbprint, or no reason.
        LedgerUnavailable: the denial could not be made durable and does not hold yet.
    """
    if not _THUMBPRINT.fullmatch(thumbprint):
        raise InvalidArgument("thumbprint", "must be 64 lower-case hexadecimal digits (SHA-256 of the DER)")
    if not reason.strip() or len(reason) > _MAX_REASON:
        raise InvalidArgument("reason", f"must be 1 to {_MAX_REASON} characters")

    def work(tx: Transaction) -> int:
        table = denied_certificates
        query = sa.select(table.c.position).where(table.c.thumbprint == thumbprint)
        if (known := tx.connection.execute(query).scalar()) is not None:
            return int(known)
        # Free text: the log holds only a commitment to it, as of every other reason.
        nonce = secrets.token_bytes(32)
        position = tx.append(
            AccessRecord(
                exchange=str(new_exchange(tx.now)),
                kind=Kind.CONTROL,
                at={"in": tx.now},
                caller=actor.uri,
                action="DenyCertificate",
                resource=f"certificates/{thumbprint}",
                change={"reason_commitment": hashlib.sha256(nonce + reason.encode()).hexdigest()},
            ),
            detail={"reason": reason, "reason_nonce": nonce.hex()},
        )
        tx.connection.execute(
            table.insert().values(
                thumbprint=thumbprint, reason=reason, actor=actor.uri, at=to_ms(tx.now), position=position
            )
        )
        return position

    return ledger.transact(work).value
