"""The node's signed receipt: what it answered to one grant, by digest.

A consumer that keeps the rows can show by the receipt that the provider returned exactly these; the gateway
cannot have changed them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from isthmus.canonical import canonical_json, sha256_hex
from isthmus.pki.credentials import Credentials
from isthmus.reasons import Reason
from isthmus.statement import StatementKind, sign
from isthmus.terms import rfc3339
from isthmus.v1.common_pb2 import MODE_BATCH
from isthmus.v1.department_service_pb2 import FetchOutcome
from isthmus.v1.exchange_service_pb2 import VERDICT_UNSPECIFIED, Verdict
from services.grant_items import GrantItem


@dataclass(frozen=True, slots=True)
class Answered:
    """An item of a grant, its outcome, and the outcome's digest in hex; a refusal has none."""

    item: GrantItem
    outcome: FetchOutcome
    digest: str

    def member(self) -> dict[str, Any]:
        """The outcome's member of the receipt."""
        exchange, outcome = self.item.exchange, self.outcome
        if outcome.refused:
            return {"exchange": exchange, "refused": Reason(outcome.refused).name}
        member = {"exchange": exchange, "digest": self.digest, "row_count": outcome.row_count}
        if self.item.mode == MODE_BATCH:
            return member | {"subject_count": len(self.item.subjects.ids)}
        return member | {"subject_known": outcome.subject_known}


def answered(item: GrantItem, outcome: FetchOutcome) -> Answered:
    """What was answered to an item, with its digest.

    It is the SHA-256 of the row set's bytes; of a BATCH, of the SHA-256 of each `subject_rows` joined in their
    order; of a VERIFY, of `{"verdict": …}` in canonical JSON.
    """
    if outcome.refused:
        return Answered(item, outcome, "")
    if outcome.verdict != VERDICT_UNSPECIFIED:
        name = Verdict.Name(outcome.verdict).removeprefix("VERDICT_")
        return Answered(item, outcome, sha256_hex(canonical_json({"verdict": name})))
    if item.mode == MODE_BATCH:
        digests = b"".join([sha256(each).digest() for each in outcome.subject_rows])
        return Answered(item, outcome, sha256_hex(digests))
    return Answered(item, outcome, sha256_hex(outcome.row_set))


def receipt_payload(
    *, department: str, grant: str, served_at: datetime, members: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a receipt states.

    Args:
        department: `departments/{department}`.
        grant: the grant's id.
        served_at: an aware time.
        members: what was answered to each item, in the order of the response's outcomes.
    """
    return {
        "department": department,
        "grant": grant,
        "served_at": rfc3339(served_at),
        "outcomes": [dict(each) for each in members],
    }


def members_of(answers: Sequence[Answered]) -> list[dict[str, Any]]:
    """The receipt's members of a Fetch."""
    return [each.member() for each in answers]


def sign_receipt(payload: dict[str, Any], credentials: Credentials) -> str:
    """The receipt as a JWS of type `isthmus-receipt+jws`, signed by the node."""
    return sign(payload, StatementKind.RECEIPT, credentials)
