"""Whether a department's receipt is for exactly the stream that it sent. No I/O."""

from typing import Any

from gateway.exchange.grant import Grant
from gateway.exchange.receipt import MAX_RECEIPT_CHARACTERS, Misbehaved
from isthmus.identity import Role
from isthmus.statement import StatementError, StatementKind, StatementVerifier


def check_receipt(token: str, grant: Grant, *, digest: str, rows: int, verifier: StatementVerifier) -> str:
    """Returns the thumbprint of the certificate that signed the receipt of a stream.

    Args:
        token: the receipt (JWS).
        grant: what the department was asked to serve.
        digest: SHA-256 of all chunks in their order, hex.
        rows: how many rows they held.
        verifier: checks its signature.

    Raises:
        Misbehaved: it is not the department's, or for another stream than this.
    """
    try:
        verified = verifier.verify(
            token, kind=StatementKind.RECEIPT, expect_role=Role.NODE, max_bytes=MAX_RECEIPT_CHARACTERS
        )
    except StatementError as error:
        raise Misbehaved(f"the department's receipt is refused: {error}") from None
    payload = verified.payload
    if f"departments/{verified.identity.department}" != grant.department:
        raise Misbehaved("the receipt is signed by a node of another department")
    if payload.get("department") != grant.department or payload.get("grant") != grant.id:
        raise Misbehaved("the receipt is for another grant")
    line = _sole_line(payload.get("outcomes"))
    stated = (line.get("exchange"), line.get("digest"), line.get("row_count"))
    if stated != (grant.passengers[0].exchange.name, digest, rows):
        raise Misbehaved("the receipt does not match the stream")
    return verified.thumbprint


def _sole_line(outcomes: Any) -> dict[str, Any]:
    if not isinstance(outcomes, list) or len(outcomes) != 1 or not isinstance(outcomes[0], dict):
        raise Misbehaved("the receipt does not hold exactly one stream")
    return outcomes[0]
