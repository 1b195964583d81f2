"""A batch against its record: the lines that are left must be those that the record vouches for."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from audit.batch.lines import MAX_LINES, PART, Line, LineError, read_line, split_lines
from audit.record import AccessRecord
from audit.tlog.merkle import HASH_SIZE, hash_leaf, root_of
from audit.verifier.damage import Damaged, DamageKind

_NOT_VOUCHED: Final = "its lines are not those that it vouches for"


def check_batch(
    index: int, record: AccessRecord, parts: Sequence[Any], persons: Sequence[Any]
) -> Iterator[Line]:
    """Yields the lines of a batch that are left, once they are found to be those of its record.

    Args:
        index: the record's position.
        record: the record.
        parts: its rows of `batch_lines`, in order; none for a record that is no batch, or whose lines were all erased.
        persons: its rows of `record_subjects`.

    Raises:
        Damaged: a line, a hash or a person is missing, altered or superfluous; after that nothing more is yielded.
    """
    where = f"record {index}"
    if not record.subjects_root:
        if parts or persons:
            raise Damaged(DamageKind.DETAIL, where, "it has lines or persons, and is no batch")
        return
    tokens = [row.token for row in persons]
    if len(tokens) > record.subject_count:
        raise Damaged(DamageKind.SUBJECT, where, "it is found by more persons than it is about")
    lines = [read for read in _lines(record, parts, where)]
    _require_found(record, lines, set(tokens), where)
    if len(lines) == record.subject_count:
        _require_counted(record, lines, where)
    yield from lines


def _lines(record: AccessRecord, parts: Sequence[Any], where: str) -> Iterator[Line]:
    if not parts:
        return
    hashes = b"".join(bytes(row.hashes) for row in parts)
    if [row.part for row in parts] != list(range(len(parts))) or len(parts) > MAX_LINES // PART + 1:
        raise Damaged(DamageKind.DETAIL, where, "a part of its lines is missing")
    if len(hashes) != record.subject_count * HASH_SIZE or root_of(hashes).hex() != record.subjects_root:
        raise Damaged(DamageKind.DETAIL, where, _NOT_VOUCHED)
    texts = [text for row in parts for text in split_lines(bytes(row.lines))]
    if len(texts) != record.subject_count:
        raise Damaged(DamageKind.DETAIL, where, "it has more or fewer lines than subjects")
    for number, text in enumerate(texts):
        # An empty line was erased: that is what lines are for.
        if text:
            yield _line(text, number, hashes[number * HASH_SIZE : (number + 1) * HASH_SIZE], where)


def _line(text: bytes, number: int, expected: bytes, where: str) -> Line:
    if hash_leaf(text) != expected:
        raise Damaged(DamageKind.DETAIL, where, f"its line {number} is not what it vouches for")
    try:
        line = read_line(text)
    except LineError as error:
        raise Damaged(DamageKind.CONTENT, where, f"its line {number} is none: {error}") from None
    if line.index != number:
        raise Damaged(DamageKind.CONTENT, where, f"its line {number} says that it is another")
    return line


def _require_found(record: AccessRecord, lines: Sequence[Line], tokens: set[str], where: str) -> None:
    named = {line.token for line in lines if line.token}
    if not named <= tokens or (len(lines) == record.subject_count and named != tokens):
        raise Damaged(DamageKind.SUBJECT, where, "the persons that it is found by are not those of its lines")


def _require_counted(record: AccessRecord, lines: Sequence[Line], where: str) -> None:
    outcomes = Counter(line.outcome for line in lines)
    rows = sum(line.rows for line in lines)
    if dict(outcomes) != dict(record.outcomes) or rows != record.row_count:
        raise Damaged(DamageKind.CONTENT, where, "what it counts is not what its lines say")
    if (record.decision == "ALLOW") != bool(outcomes["ALLOW"]):
        raise Damaged(DamageKind.CONTENT, where, "its decision is not what its lines say")
