"""Some transactions of a ledger, verified apart from all others: what several processes do at once.

A chunk begins and ends at checkpoints. The edge at which it begins is read from the stored tiles; that it has the root
of the checkpoint there, and that the chunk before ended with the same root, binds the two together. Here everything
is either in order or in doubt: what is in doubt is read once more by `audit.verifier.careful`, which names the damage.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from audit.batch.lines import Line
from audit.ledger.offline import open_offline
from audit.ledger.schema import index_values, records
from audit.record import AccessRecord
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import EMPTY_ROOT, hash_leaf
from audit.tlog.tiles import TILE_BYTES
from audit.tlog.tree import Edge
from audit.verifier.batch import check_batch
from audit.verifier.damage import Damaged
from audit.verifier.facts import Facts
from audit.verifier.leaf import read_leaf
from audit.verifier.note import Notes
from audit.verifier.record import check_detail, check_reasons

MAX_RECORDS: Final = 65_536
"""A chunk of more is one transaction of more: it is left to be read bit by bit."""

_COLUMNS: Final = ", ".join(f'"{column.name}"' for column in records.c)
_RECORDS: Final = f"SELECT {_COLUMNS} FROM records WHERE idx >= ? AND idx < ? ORDER BY idx"
_CHECKPOINTS: Final = (
    "SELECT size, root, note, at_ms FROM checkpoints WHERE size > ? AND size <= ? ORDER BY size"
)
_REASONS: Final = "SELECT idx, reason FROM record_reasons WHERE idx >= ? AND idx < ?"
_DETAILS: Final = "SELECT idx, json FROM details WHERE idx >= ? AND idx < ?"
_LINES: Final = (
    "SELECT idx, part, hashes, lines FROM batch_lines WHERE idx >= ? AND idx < ? ORDER BY idx, part"
)
_SALT: Final = re.compile(rb'\{"commitment_salt":"[0-9]{1,9}\.[0-9a-f]{64}"\}')


class _Doubt(Exception):
    """Something is not as it should be, or not as it usually is."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A task.

    Attributes:
        location: of the ledger.
        key: the log's.
        after: the size of the checkpoint before the first of the chunk; -1 where there is none.
        end: the size of its last checkpoint.
        persons: by record the tokens of the persons of batches; None of a transaction that holds too much to be read
            at once.
    """

    location: str
    key: VerifierKey
    after: int
    end: int
    persons: Mapping[int, Sequence[str]] | None = field(default_factory=dict)

    @property
    def begin(self) -> int:
        """The position of its first record."""
        return max(0, self.after)


@dataclass(frozen=True, slots=True)
class Sound:
    """A chunk in which nothing is in doubt, if the log has `before` as its root where the chunk begins.

    Attributes:
        before: 32 bytes.
        edge: where it ends.
        checkpoints: how many there are in it.
        facts: for the rules.
        first_ms: when its first record was appended, ms since 1970; None where it has none.
        last_ms: the same of its last.
    """

    before: bytes
    edge: Edge
    checkpoints: int
    facts: Facts
    first_ms: int | None
    last_ms: int | None


class _Reason(NamedTuple):
    idx: int
    reason: str


class _Detail(NamedTuple):
    idx: int
    json: bytes


class _Part(NamedTuple):
    idx: int
    part: int
    hashes: bytes
    lines: bytes


class _Person(NamedTuple):
    token: str


class _StoredTiles:
    """The tiles of a ledger, a `TileReader`."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Return what is stored, or nothing."""
        query = "SELECT data FROM tiles WHERE level = ? AND idx = ?"
        found = self._driver.execute(query, (level, index)).fetchone()
        return found[0] if found and isinstance(found[0], bytes) else b""


def check_chunk(chunk: Chunk) -> Sound | None:
    """What there is to know about a chunk in which everything is as the log signed it; None where that is in doubt."""
    if chunk.end - chunk.begin > MAX_RECORDS or chunk.persons is None:
        return None
    try:
        with open_offline(chunk.location) as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            return _Check(driver, chunk).run()
    except (_Doubt, Damaged, sa.exc.DBAPIError, sqlite3.Error):
        return None
    except (ValueError, TypeError, AttributeError, LookupError, OSError):
        # A column of another type than any program wrote there.
        return None


class _Check:
    def __init__(self, driver: sqlite3.Connection, chunk: Chunk) -> None:
        self._driver = driver
        self._chunk = chunk
        self._notes = Notes(chunk.key)
        self._facts = Facts()
        span = (chunk.begin, chunk.end)
        self._reasons = _grouped(map(_Reason._make, driver.execute(_REASONS, span)))
        self._details = _grouped(map(_Detail._make, driver.execute(_DETAILS, span)))
        self._lines = _grouped(map(_Part._make, driver.execute(_LINES, span)))
        self._persons = {
            index: [_Person(token) for token in tokens] for index, tokens in (chunk.persons or {}).items()
        }

    def run(self) -> Sound:
        chunk = self._chunk
        before = self._root_before()
        edge = Edge.load(chunk.begin, _StoredTiles(self._driver))
        _require(edge.root == before)
        rows = self._driver.execute(_RECORDS, (chunk.begin, chunk.end))
        count, first_ms, last_ms = 0, None, None
        for size, root, note, at_ms in self._driver.execute(
            _CHECKPOINTS, (chunk.after, chunk.end)
        ).fetchall():
            begin = edge.size
            read = [self._check_row(row, begin) for row in islice(rows, size - begin)]
            growth = edge.append([leaf_hash for leaf_hash, _ in read])
            edge = growth.edge
            _require(edge.size == size and growth.root == root)
            _require(all(each == at_ms for _, each in read) if read else at_ms == 0)
            if read:
                _require(last_ms is None or at_ms >= last_ms)
                first_ms, last_ms = at_ms if first_ms is None else first_ms, at_ms
            self._notes.require(note, size, root)
            self._check_tiles(growth.tiles)
            count += 1
        _require(edge.size == chunk.end and next(rows, None) is None)
        _require(not (self._reasons or self._details or self._lines or self._persons))
        return Sound(before, edge, count, self._facts, first_ms, last_ms)

    def _root_before(self) -> bytes:
        if not self._chunk.begin:
            return EMPTY_ROOT
        query = "SELECT root FROM checkpoints WHERE size = ?"
        (root,) = self._driver.execute(query, (self._chunk.begin,)).fetchone()
        return bytes(root)

    def _check_row(self, row: Sequence[Any], begin: int) -> tuple[bytes, int]:
        index, leaf = row[0], row[1]
        leaf_hash = hash_leaf(leaf)
        record, at_ms = read_leaf(leaf)
        _require(at_ms is not None and record.base == begin and row[2] == leaf_hash)
        _require(row[3:] == index_values(record, at_ms))
        reasons = self._reasons.pop(index, ())
        if reasons or record.reasons:
            check_reasons(index, record, reasons)
        detail = self._details.pop(index, None)
        if detail and not (record.request_commitment and _is_salt(detail)):
            check_detail(index, record, detail)
        self._facts.add(index, record, self._check_batch(index, record))
        assert at_ms is not None
        return leaf_hash, at_ms

    def _check_batch(self, index: int, record: AccessRecord) -> tuple[Line, ...]:
        parts, persons = self._lines.pop(index, ()), self._persons.pop(index, ())
        if not (parts or persons or record.subjects_root):
            return ()
        return tuple(check_batch(index, record, parts, persons))

    def _check_tiles(self, built: Mapping[tuple[int, int], bytes]) -> None:
        stored = partial(_StoredTiles(self._driver).read_tile, width=0)
        for place, data in built.items():
            # A tile that is not full grows on; at the end of the log all of those are compared.
            _require(len(data) < TILE_BYTES or stored(*place) == data)


def _grouped(rows: Iterator[Any]) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = {}
    for row in rows:
        groups.setdefault(row.idx, []).append(row)
    return groups


def _is_salt(detail: Sequence[_Detail]) -> bool:
    """Whether the detail is the salt of an exchange's commitments and nothing else: that of nearly all records."""
    return len(detail) == 1 and _SALT.fullmatch(detail[0].json) is not None


def _require(condition: bool) -> None:
    if not condition:
        raise _Doubt
