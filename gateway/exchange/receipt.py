"""Whether a department's answer is what its grant allows and what its receipt states. No I/O.

A department that sends more than it was asked for is not corrected by cutting the surplus off: the answer is
refused as a whole, because nobody can say what else in it is wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from gateway.exchange.evidence import Misbehaved, SignedLines, line_of, read_receipt, refusal_of
from gateway.exchange.grant import Grant, Passenger, granted_fields
from gateway.exchange.item import Mode
from gateway.exchange.outcome import Failed, Outcome, Served
from isthmus.canonical import canonical_json, sha256_hex
from isthmus.reasons import Reason
from isthmus.statement import StatementVerifier
from isthmus.v1.common_pb2 import Column, RowSet
from isthmus.v1.department_service_pb2 import FetchOutcome, FetchResponse
from isthmus.v1.exchange_service_pb2 import Verdict


def check_response(response: FetchResponse, grant: Grant, verifier: StatementVerifier) -> list[Outcome]:
    """Returns what came of each exchange of `grant`, in its order.

    An answer of which the receipt is wrong fails every exchange; one that is wrong by itself fails alone.
    """
    try:
        receipt = read_receipt(response.receipt, grant, verifier)
        if not len(receipt.lines) == len(response.outcomes) == len(grant.passengers):
            raise Misbehaved("the department did not answer each exchange exactly once")
    except Misbehaved as fault:
        return [Failed(Reason.DEPARTMENT_MISBEHAVED, str(fault)) for _ in grant.passengers]
    return [
        _outcome(passenger, outcome, line, receipt)
        for passenger, outcome, line in zip(grant.passengers, response.outcomes, receipt.lines, strict=True)
    ]


def _outcome(passenger: Passenger, outcome: FetchOutcome, line: Any, receipt: SignedLines) -> Outcome:
    try:
        stated = line_of(line, passenger.exchange.name)
        if (refusal := refusal_of(outcome, stated, receipt.token)) is not None:
            return refusal
        if outcome.subject_rows:
            raise Misbehaved("the answer about one subject holds rows of a batch")
        served = _rows if passenger.exchange.asked.mode is Mode.QUERY else _verdict
        return served(passenger, outcome, stated, receipt)
    except Misbehaved as fault:
        return Failed(Reason.DEPARTMENT_MISBEHAVED, str(fault))


def _rows(
    passenger: Passenger, outcome: FetchOutcome, line: Mapping[str, Any], receipt: SignedLines
) -> Served:
    if outcome.verdict:
        raise Misbehaved("the answer to a QUERY holds a verdict")
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
    passenger: Passenger, outcome: FetchOutcome, line: Mapping[str, Any], receipt: SignedLines
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
    receipt: SignedLines,
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
