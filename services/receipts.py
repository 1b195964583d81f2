"""The node's signed receipt: what it answered to one grant, by digest.

A consumer that keeps the rows can show by the receipt that the provider returned exactly these; the gateway
cannot have changed them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from isthmus.canonical import canonical_json, sha256_hex
from isthmus.pki.credentials import Credentials
from isthmus.reasons import Reason
from isthmus.statement import StatementKind, sign
from isthmus.terms import rfc3339
from isthmus.v1.department_service_pb2 import FetchOutcome
from isthmus.v1.exchange_service_pb2 import VERDICT_UNSPECIFIED, Verdict


@dataclass(frozen=True, slots=True)
class Answered:
    """An outcome and the exchange it belongs to."""

    exchange: str
    outcome: FetchOutcome

    @property
    def digest(self) -> str:
        """The SHA-256, in hex, of the row set's bytes, or of `{"verdict": …}` in canonical JSON."""
        if self.outcome.verdict != VERDICT_UNSPECIFIED:
            name = Verdict.Name(self.outcome.verdict).removeprefix("VERDICT_")
            return sha256_hex(canonical_json({"verdict": name}))
        return sha256_hex(self.outcome.row_set)

    def member(self) -> dict[str, Any]:
        """The outcome's member of the receipt."""
        if self.outcome.refused:
            return {"exchange": self.exchange, "refused": Reason(self.outcome.refused).name}
        return {
            "exchange": self.exchange,
            "digest": self.digest,
            "row_count": self.outcome.row_count,
            "subject_known": self.outcome.subject_known,
        }


def receipt_payload(
    *, department: str, grant: str, served_at: datetime, answers: Sequence[Answered]
) -> dict[str, Any]:
    """What a receipt states.

    Args:
        department: `departments/{department}`.
        grant: the grant's id.
        served_at: an aware time.
        answers: in the order of the response's outcomes.
    """
    return {
        "department": department,
        "grant": grant,
        "served_at": rfc3339(served_at),
        "outcomes": [each.member() for each in answers],
    }


def sign_receipt(payload: dict[str, Any], credentials: Credentials) -> str:
    """The receipt as a JWS of type `isthmus-receipt+jws`, signed by the node."""
    return sign(payload, StatementKind.RECEIPT, credentials)
