"""Whether a department's receipt is for exactly the stream that it sent. No I/O."""

from gateway.exchange.evidence import Misbehaved, line_of, read_receipt
from gateway.exchange.grant import Grant
from isthmus.statement import StatementVerifier


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
    receipt = read_receipt(token, grant, verifier)
    if len(receipt.lines) != 1:
        raise Misbehaved("the receipt does not hold exactly one stream")
    line = line_of(receipt.lines[0], grant.passengers[0].exchange.name)
    if (line.get("digest"), line.get("row_count")) != (digest, rows):
        raise Misbehaved("the receipt does not match the stream")
    return receipt.node
