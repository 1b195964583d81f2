"""Whether a department's answer to a part of a batch is what its grant allows and its receipt states. No I/O.

An answer that is wrong about one subject is refused as a whole: nobody can say what else in it is wrong.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from google.protobuf.message import DecodeError

from gateway.batch.part import Answered, Found, Part
from gateway.exchange.evidence import Misbehaved, line_of, read_receipt, refusal_of
from gateway.exchange.grant import Grant, granted_fields
from gateway.exchange.outcome import Failed, Vetoed
from isthmus.reasons import Reason
from isthmus.statement import StatementVerifier
from isthmus.v1.common_pb2 import Column, RowSet
from isthmus.v1.department_service_pb2 import FetchOutcome, FetchResponse

_KNOWN: Final = b"\x08\x01"
_SHORT: Final = 4
"""The bytes before a row that is the only one and shorter than 128 bytes."""
_ROW: Final = 0x12
"""The tag of a row in SubjectRows, and in RowSet."""
_OUTCOME_KNOWN: Final = b"\x20\x01"
_OUTCOME_ROW: Final = b"\x2a"
"""The same two fields in BatchOutcome."""


def check_part(
    response: FetchResponse, part: Part, grant: Grant, verifier: StatementVerifier
) -> Answered | Vetoed | Failed:
    """Returns what came of a part.

    Args:
        response: of the department.
        part: what it was asked.
        grant: by which it was asked.
        verifier: checks the signature of its receipt.
    """
    try:
        receipt = read_receipt(response.receipt, grant, verifier)
        if not len(receipt.lines) == len(response.outcomes) == 1:
            raise Misbehaved("the department did not answer the part exactly once")
        line, outcome = line_of(receipt.lines[0], part.exchange), response.outcomes[0]
        if (refusal := refusal_of(outcome, line, receipt.token)) is not None:
            return refusal
        _require_columns(outcome, grant)
        found = _found(outcome, part)
        _require_stated(outcome, found, line)
        return Answered(tuple(outcome.columns), found, receipt.token, receipt.node)
    except Misbehaved as fault:
        return Failed(Reason.DEPARTMENT_MISBEHAVED, str(fault))


def _require_columns(outcome: FetchOutcome, grant: Grant) -> None:
    if outcome.row_set or outcome.verdict:
        raise Misbehaved("the answer to a BATCH holds more than the rows of its subjects")
    columns: Sequence[Column] = outcome.columns
    granted = [(each["name"], each["transform"]) for each in granted_fields(grant.passengers[0])]
    if [(each.name, each.transform) for each in columns] != granted:
        raise Misbehaved("the columns are not exactly those granted")


def _found(outcome: FetchOutcome, part: Part) -> list[Found]:
    entries: Sequence[bytes] = outcome.subject_rows
    if len(entries) != len(part.persons):
        raise Misbehaved("the department did not answer about each subject exactly once")
    found: list[Found] = []
    rows: list[bytes] = []
    for entry in entries:
        if not entry:
            found.append(_UNKNOWN)
            continue
        count, wire = _read(entry)
        rows.append(entry[2:])
        found.append(Found(count, wire, sha256(entry).digest(), len(entry)))
    _require_rows(b"".join(rows), width=len(outcome.columns))
    return found


_UNKNOWN: Final = Found(0, b"", sha256(b"").digest(), 0)


def _read(entry: bytes) -> tuple[int, bytes]:
    """Reads a SubjectRows that is not empty: how many rows there are, and the same fields as a BatchOutcome has them.

    Only its one spelling is read: that the subject is known, and then rows. What the rows hold is not looked at here.
    """
    if entry[:2] != _KNOWN:
        raise Misbehaved("the rows of a subject are not in their one spelling, or of one who is not known")
    if len(entry) > _SHORT and entry[2] == _ROW and entry[3] == len(entry) - _SHORT < 0x80:
        return 1, _OUTCOME_KNOWN + _OUTCOME_ROW + entry[3:]
    wire, position, count = [_OUTCOME_KNOWN], 2, 0
    while position < len(entry):
        if entry[position] != _ROW:
            raise Misbehaved("the rows of a subject hold something else")
        end = _end(entry, position + 1)
        wire += (_OUTCOME_ROW, entry[position + 1 : end])
        position, count = end, count + 1
    return count, b"".join(wire)


def _end(entry: bytes, position: int) -> int:
    """The end of a length-delimited field whose length is at `position`."""
    length = shift = 0
    for at in range(position, min(position + 5, len(entry))):
        length |= (entry[at] & 0x7F) << shift
        shift += 7
        if entry[at] < 0x80:
            if at + 1 + length > len(entry):
                break
            return at + 1 + length
    raise Misbehaved("a row of a subject is cut off")


def _require_rows(data: bytes, *, width: int) -> None:
    """All rows of the part at once: each is in its one spelling, with a value for each column and nothing beside them."""
    try:
        row_set = RowSet.FromString(data)
    except DecodeError:
        raise Misbehaved("the rows are no rows") from None
    row_set.DiscardUnknownFields()
    if row_set.SerializeToString(deterministic=True) != data:
        raise Misbehaved("the rows are not in their one spelling, or hold unknown fields")
    if any(len(row.values) != width for row in row_set.rows):
        raise Misbehaved("a row has more or fewer values than there are columns")


def _require_stated(outcome: FetchOutcome, found: Sequence[Found], line: Mapping[str, Any]) -> None:
    rows = sum(each.rows for each in found)
    known = any(each.size for each in found)
    if rows != outcome.row_count or known != outcome.subject_known:
        raise Misbehaved("the rows counted are not those sent")
    digest = sha256(b"".join([each.digest for each in found])).hexdigest()
    stated = (line.get("digest"), line.get("row_count"), line.get("subject_count"))
    if stated != (digest, rows, len(found)):
        raise Misbehaved("the receipt does not match the answer")
