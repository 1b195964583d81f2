"""What a department signed about its answer, and how it refuses: read alike for exchanges of every mode. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.exchange.grant import Grant
from gateway.exchange.outcome import Failed, Vetoed
from isthmus.identity import Role
from isthmus.reasons import Reason
from isthmus.statement import StatementError, StatementKind, StatementVerifier
from isthmus.v1.department_service_pb2 import FetchOutcome

_MAX_RECEIPT_CHARACTERS: Final = 1 << 20
_MAX_EXPLANATION: Final = 500


class Misbehaved(Exception):
    """The answer breaks the protocol. The message says how, and quotes nothing of the answer."""


@dataclass(frozen=True, slots=True)
class SignedLines:
    """A receipt that holds: its token, the thumbprint of the certificate that signed it, and what it says of each
    exchange of its grant; whether those are the right ones is for the caller to see."""

    token: str
    node: str
    lines: Sequence[Any]


def read_receipt(token: str, grant: Grant, verifier: StatementVerifier) -> SignedLines:
    """Returns what the receipt (JWS) for `grant` says.

    Raises:
        Misbehaved: it is not signed by a node of the department that was asked, or is for another grant.
    """
    try:
        verified = verifier.verify(
            token, kind=StatementKind.RECEIPT, expect_role=Role.NODE, max_bytes=_MAX_RECEIPT_CHARACTERS
        )
    except StatementError as error:
        raise Misbehaved(f"the department's receipt is refused: {error}") from None
    payload = verified.payload
    if f"departments/{verified.identity.department}" != grant.department:
        raise Misbehaved("the receipt is signed by a node of another department")
    if payload.get("department") != grant.department or payload.get("grant") != grant.id:
        raise Misbehaved("the receipt is for another grant")
    lines = payload.get("outcomes")
    if not isinstance(lines, list):
        raise Misbehaved("the receipt lists no outcomes")
    return SignedLines(token, verified.thumbprint, lines)


def line_of(line: Any, exchange: str) -> Mapping[str, Any]:
    """Returns a line of a receipt, if it is about `exchanges/{uuid}`.

    Raises:
        Misbehaved: it is not.
    """
    if not isinstance(line, dict) or line.get("exchange") != exchange:
        raise Misbehaved("the receipt's outcomes are not those of the grant, in its order")
    return line


def refusal_of(outcome: FetchOutcome, line: Mapping[str, Any], token: str) -> Vetoed | Failed | None:
    """Returns how the department refused; None where it answered.

    Raises:
        Misbehaved: answer and receipt do not agree about it, or data came with the refusal.
    """
    if not outcome.refused:
        if "refused" in line:
            raise Misbehaved("the receipt states a refusal where the answer is none")
        return None
    try:
        reason = Reason(outcome.refused)
    except ValueError:
        raise Misbehaved("the department refused for a reason that is none") from None
    if line.get("refused") != reason.name:
        raise Misbehaved("the receipt does not state the department's refusal")
    if outcome.row_set or outcome.subject_rows or outcome.columns or outcome.verdict:
        raise Misbehaved("the department refused and sent data")
    if reason is Reason.PROVIDER_VETO:
        # Bounded: a department's words go to the caller, and a department is not trusted with their length.
        return Vetoed(outcome.explanation[:_MAX_EXPLANATION], token)
    return Failed(reason, "the department's node could not serve the grant")
