"""What a consumer can check by itself: that the provider signed for exactly the answer that arrived.

That the record of the release is in the log is a different question; `receipt.leaf_hash` and
`receipt.checkpoint` answer it together with an inclusion proof from the audit service.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from isthmus.canonical import canonical_json, sha256_hex
from isthmus.client.connection import Target
from isthmus.client.results import QueryResult, VerifyResult
from isthmus.client.streams import StreamResult
from isthmus.errors import TermsInvalid
from isthmus.identity import Identity, Role
from isthmus.statement import StatementError, StatementKind, StatementVerifier, Verified
from isthmus.terms import parse_rfc3339


class ReceiptError(ValueError):
    """A receipt does not prove what it came with. The message says what differs."""


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What the provider signed: which node of which department answered, and when it says it did."""

    department: str
    node: Identity
    served_at: datetime
    grant: str


def verify_receipt(
    result: QueryResult | VerifyResult | StreamResult,
    *,
    verifier: StatementVerifier,
    provider: str = "",
    at: datetime | None = None,
) -> VerifiedReceipt:
    """Checks the provider's receipt of an answer; pure but for the verifier's clock.

    Args:
        result: as the client returned it; of a stream its `result`.
        verifier: holds the trust anchors.
        provider: `departments/{department}` that must have answered; any unless given.
        at: when the certificate must have been valid; now unless given. For an old receipt pass the time the
            answer was received.

    Raises:
        ReceiptError: there is no receipt, its signature does not hold, or it is about another answer.
    """
    token = result.receipt.provider_receipt
    if not token:
        raise ReceiptError(f"the answer to {result.exchange} carries no receipt of the provider")
    try:
        verified = verifier.verify(token, kind=StatementKind.RECEIPT, expect_role=Role.NODE, at=at)
    except StatementError as error:
        raise ReceiptError(str(error)) from error
    department = f"departments/{verified.identity.department}"
    if verified.payload.get("department") != department or provider not in ("", department):
        raise ReceiptError(f"{department} signed the receipt, which is not the department that should have")
    if not hmac.compare_digest(_stated_digest(verified, result.exchange), _digest(result)):
        raise ReceiptError(f"the provider signed for another answer than the one to {result.exchange}")
    return _verified(verified, department)


def verifier_of(target: Target, clock: Callable[[], datetime]) -> StatementVerifier:
    """Returns a verifier with the client's own trust anchors."""
    return StatementVerifier(
        target.credentials.ca_certificates, target.identity.trust_domain, clock=clock, max_entries=64
    )


def _digest(result: QueryResult | VerifyResult | StreamResult) -> str:
    if isinstance(result, StreamResult):
        return result.digest
    if isinstance(result, QueryResult):
        return sha256_hex(result.row_set_bytes)
    return sha256_hex(canonical_json({"verdict": result.verdict}))


def _stated_digest(verified: Verified, exchange: str) -> str:
    outcomes: Any = verified.payload.get("outcomes")
    listed = outcomes if isinstance(outcomes, list) else []
    found = [each for each in listed if isinstance(each, dict) and each.get("exchange") == exchange]
    # Two outcomes of one exchange would let the provider sign for both of two answers.
    if len(found) != 1 or not isinstance(found[0].get("digest"), str):
        raise ReceiptError(f"the receipt does not hold exactly one answer to {exchange}")
    digest: str = found[0]["digest"]
    return digest


def _verified(verified: Verified, department: str) -> VerifiedReceipt:
    served_at, grant = verified.payload.get("served_at"), verified.payload.get("grant")
    if not isinstance(served_at, str) or not isinstance(grant, str):
        raise ReceiptError("the receipt does not say when and under which grant the provider answered")
    try:
        moment = parse_rfc3339(served_at, field="served_at")
    except TermsInvalid as error:
        raise ReceiptError("the receipt's served_at is not a time") from error
    return VerifiedReceipt(department, verified.identity, moment, grant)
