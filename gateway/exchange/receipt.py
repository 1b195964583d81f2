"""Whether a department's answer is what its grant allows and what its receipt states. No I/O.

A department that sends more than it was asked for is not corrected by cutting the surplus off: the answer is
refused as a whole, because nobody can say what else in it is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from gateway.exchange.grant import Grant, Passenger, granted_fields
from gateway.exchange.item import Mode
from gateway.exchange.outcome import Failed, Outcome, Served, Vetoed
from isthmus.canonical import canonical_json, sha256_hex
from isthmus.identity import Role
from isthmus.reasons import Reason
from isthmus.statement import StatementError, StatementKind, StatementVerifier
from isthmus.v1.common_pb2 import Column, RowSet
from isthmus.v1.department_service_pb2 import FetchOutcome, FetchResponse
from isthmus.v1.exchange_service_pb2 import Verdict

MAX_RECEIPT_CHARACTERS: Final = 1 << 20
_MAX_EXPLANATION: Final = 500


class Misbehaved(Exception):
    """The answer breaks the protocol. The message says how, and quotes nothing of the answer."""


@dataclass(frozen=True, slots=True)
class _Receipt:
    token: str
    node: str
    lines: Sequence[Any]


def check_response(response: FetchResponse, grant: Grant, verifier: StatementVerifier) -> list[Outcome]:
    """Returns what came of each exchange of `grant`, in its order.

    An answer of which the receipt is wrong fails every exchange; one that is wrong by itself fails alone.
    """
    try:
        receipt = _read_receipt(response, grant, verifier)
    except Misbehaved as fault:
        return [Failed(Reason.DEPARTMENT_MISBEHAVED, str(fault)) for _ in grant.passengers]
    return [
        _outcome(passenger, outcome, line, receipt)
        for passenger, outcome, line in zip(grant.passengers, response.outcomes, receipt.lines, strict=True)
    ]


def _read_receipt(response: FetchResponse, grant: Grant, verifier: StatementVerifier) -> _Receipt:
    try:
        verified = verifier.verify(
            response.receipt,
            kind=StatementKind.RECEIPT,
            expect_role=Role.NODE,
            max_bytes=MAX_RECEIPT_CHARACTERS,
        )
    except StatementError as error:
        raise Misbehaved(f"the department's receipt is refused: {error}") from None
    payload = verified.payload
    if f"departments/{verified.identity.department}" != grant.department:
        raise Misbehaved("the receipt is signed by a node of another department")
    if payload.get("department") != grant.department or payload.get("grant") != grant.id:
        raise Misbehaved("the receipt is for another grant")
    lines = payload.get("outcomes")
    if not isinstance(lines, list) or not len(lines) == len(response.outcomes) == len(grant.passengers):
        raise Misbehaved("the department did not answer each exchange exactly once")
    return _Receipt(response.receipt, verified.thumbprint, lines)


def _outcome(passenger: Passenger, outcome: FetchOutcome, line: Any, receipt: _Receipt) -> Outcome:
    try:
        if not isinstance(line, dict) or line.get("exchange") != passenger.exchange.name:
            raise Misbehaved("the receipt's outcomes are not those of the grant, in its order")
        if outcome.refused:
            return _refusal(outcome, line, receipt)
        if "refused" in line:
            raise Misbehaved("the receipt states a refusal where the answer is none")
        served = _rows if passenger.exchange.asked.mode is Mode.QUERY else _verdict
        return served(passenger, outcome, line, receipt)
    except Misbehaved as fault:
        return Failed(Reason.DEPARTMENT_MISBEHAVED, str(fault))


def _refusal(outcome: FetchOutcome, line: Mapping[str, Any], receipt: _Receipt) -> Outcome:
    try:
        reason = Reason(outcome.refused)
    except ValueError:
        raise Misbehaved("the department refused for a reason that is none") from None
    if line.get("refused") != reason.name:
        raise Misbehaved("the receipt does not state the department's refusal")
    if outcome.row_set or outcome.columns or outcome.verdict:
        raise Misbehaved("the department refused and sent data")
    if reason is Reason.PROVIDER_VETO:
        # Bounded: a department's words go to the caller, and a department is not trusted with their length.
        return Vetoed(outcome.explanation[:_MAX_EXPLANATION], receipt.token)
    return Failed(reason, "the department's node could not serve the grant")


def _rows(passenger: Passenger, outcome: FetchOutcome, line: Mapping[str, Any], receipt: _Receipt) -> Served:
    row_set = _row_set(outcome.row_set)
    _require_columns(outcome.columns, passenger)
    _require_columns(row_set.columns, passenger)
    if list(outcome.columns) != list(row_set.columns):
        raise Misbehaved("the columns declared are not those of the rows")
    width = len(row_set.columns)
    if any(len(row.values) != width for row in row_set.rows):
        raise Misbehaved("a row has more or fewer values than there are columns")
    if len(row_set.rows) != outcome.row_count or (outcome.row_count and not outcome.subject_known):
        raise Misbehaved("the rows counted are not those sent")
    return _served(outcome, line, receipt, content=outcome.row_set, row_set=row_set)


def _row_set(data: bytes) -> RowSet:
    """Reads rows, and refuses bytes that could carry anything beside them."""
    try:
        row_set = RowSet.FromString(data)
    except DecodeError:
        raise Misbehaved("the rows are no RowSet") from None
    row_set.DiscardUnknownFields()
    if row_set.SerializeToString(deterministic=True) != data:
        raise Misbehaved("the rows are not a RowSet in its one spelling, or hold unknown fields")
    return row_set


def _require_columns(columns: Sequence[Column], passenger: Passenger) -> None:
    granted = [(each["name"], each["transform"]) for each in granted_fields(passenger)]
    if [(each.name, each.transform) for each in columns] != granted:
        raise Misbehaved("the columns are not exactly those granted")


def _verdict(
    passenger: Passenger, outcome: FetchOutcome, line: Mapping[str, Any], receipt: _Receipt
) -> Served:
    if outcome.row_set or outcome.columns or outcome.row_count:
        raise Misbehaved("the answer to a VERIFY holds more than a verdict")
    if outcome.verdict not in (Verdict.VERDICT_YES, Verdict.VERDICT_NO, Verdict.VERDICT_UNKNOWN):
        raise Misbehaved("the verdict is none")
    name = Verdict.Name(outcome.verdict).removeprefix("VERDICT_")
    return _served(outcome, line, receipt, content=canonical_json({"verdict": name}), row_set=None)


def _served(
    outcome: FetchOutcome,
    line: Mapping[str, Any],
    receipt: _Receipt,
    *,
    content: bytes,
    row_set: RowSet | None,
) -> Served:
    stated = (line.get("digest"), line.get("row_count"), line.get("subject_known"))
    if stated != (sha256_hex(content), outcome.row_count, outcome.subject_known):
        raise Misbehaved("the receipt does not match the answer")
    return Served(
        subject_known=outcome.subject_known,
        row_set=row_set,
        verdict=outcome.verdict,
        content=content,
        row_count=outcome.row_count,
        receipt=receipt.token,
        node=receipt.node,
    )
