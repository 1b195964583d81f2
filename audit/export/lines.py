"""The forms that are written line by line. CSV is RFC 4180, UTF-8, with a header.

A line of JSON Lines is `{"index":…,"leaf_hash":"…","record":{…}}`, canonical JSON (RFC 8785) with the leaf verbatim, so
that whoever canonicalises `record` again has the bytes that the log hashed.
"""

import csv
import io
from collections.abc import Iterable
from typing import Any, Final

from audit.export.columns import COLUMNS, Row, cells_of
from audit.record import RecordError
from audit.search.query import Found
from audit.tlog.merkle import hash_leaf
from isthmus.canonical import CanonicalError, canonical_json, parse_canonical

MAX_LINE_BYTES: Final = 1 << 17
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula, or skips before one (OWASP, CSV Injection)."""


def json_lines(found: Iterable[Found]) -> bytes:
    """The records as JSON Lines."""
    return b"".join(_line(each) for each in found)


def read_json_line(line: bytes) -> Found:
    """Reads a line of `json_lines`.

    Raises:
        RecordError: it is none, or its record is not what its hash says.
    """
    try:
        members: Any = parse_canonical(line, max_bytes=MAX_LINE_BYTES)
        leaf = canonical_json(members["record"])
        index, leaf_hash = members["index"], members["leaf_hash"]
    except (CanonicalError, TypeError, KeyError, IndexError) as error:
        raise RecordError(f"the line is no record of an export: {type(error).__name__}") from None
    if type(index) is not int or hash_leaf(leaf).hex() != leaf_hash:
        raise RecordError("the line's record is not the one that its hash names")
    return Found(index, leaf)


def csv_header() -> bytes:
    """The names of the columns."""
    return _csv([list(COLUMNS)])


def csv_lines(found: Iterable[Found]) -> bytes:
    """The records as lines of CSV. Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return _csv([safe(cell) for cell in cells_of(Row.of(each.index, each.leaf))] for each in found)


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(found: Found) -> bytes:
    head = f'{{"index":{found.index},"leaf_hash":"{hash_leaf(found.leaf).hex()}","record":'
    return head.encode() + found.leaf + b"}\n"


def _csv(rows: Iterable[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
