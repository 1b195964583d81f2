"""What came of asking a department about one exchange."""

from dataclasses import dataclass

from isthmus.reasons import Reason
from isthmus.v1.common_pb2 import RowSet
from isthmus.v1.exchange_service_pb2 import Verdict


@dataclass(frozen=True, slots=True)
class Served:
    """The department answered, and its signed receipt covers exactly this answer.

    Attributes:
        subject_known: whether it knows the subject.
        row_set: the rows of a QUERY; None for a VERIFY.
        verdict: of a VERIFY, a number of isthmus.v1.Verdict; 0 for a QUERY.
        content: the bytes that the receipt digests: the row set, or the verdict in canonical JSON.
        row_count: how many rows would be released.
        receipt: the department's receipt (JWS).
        node: the thumbprint of the certificate that signed it.
    """

    subject_known: bool
    row_set: RowSet | None
    verdict: Verdict.ValueType
    content: bytes
    row_count: int
    receipt: str
    node: str


@dataclass(frozen=True, slots=True)
class Vetoed:
    """The department refused the grant by its own manifest."""

    explanation: str
    receipt: str


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no answer that could be released: a technical fault, or a department that broke the protocol."""

    reason: Reason
    explanation: str


Outcome = Served | Vetoed | Failed
