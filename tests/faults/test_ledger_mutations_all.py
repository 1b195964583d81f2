"""Every row of a small ledger, altered in every way there is: the offline verifier names each.

`test_ledger_mutations.py` says how each damage is called; here nothing is left out.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from audit.ledger.schema import INDEX_COLUMNS
from audit.verifier import ledger as verifier
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from tests.unit.audit.ledger_world import KEY, append, denial, failure, ledger_in

pytestmark = pytest.mark.fault

SIZE = 40
TOGETHER = 4
SAMPLES = 6


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A ledger of 40 records in transactions of four."""
    directory = tmp_path_factory.mktemp("original")
    with ledger_in(directory) as ledger:
        for _ in range(0, SIZE, TOGETHER):
            append(ledger, *(failure() for _ in range(TOGETHER - 1)), denial("NO_CONTRACT"))
    with closing(sqlite3.connect(directory / "ledger.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
    return (directory / "ledger.db").read_bytes()


@pytest.fixture(scope="module")
def chance() -> random.Random:
    """Which bytes are changed; the seed is printed, and can be given."""
    seed = int(os.environ.get("MUTATION_SEED", random.SystemRandom().getrandbits(32)))
    print(f"MUTATION_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "_CHUNK_RECORDS", 8)


class Copy:
    """A copy of the ledger that is spoilt anew each time."""

    def __init__(self, original: bytes, path: Path) -> None:
        self._original = original
        self._path = path

    def value(self, query: str) -> Any:
        self._path.write_bytes(self._original)
        with closing(sqlite3.connect(self._path)) as connection:
            return connection.execute(query).fetchone()[0]

    def damage(self, *statements: str, values: tuple[Any, ...] = ()) -> tuple[DamageKind, str]:
        """What the verifier names after these changes, of which the first takes the values."""
        self._path.write_bytes(self._original)
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            # Past the indexes that would refuse it, as whoever owns the file can.
            connection.execute("DROP INDEX records_one_decision")
            for number, statement in enumerate(statements):
                connection.execute(statement, () if number else values)
        try:
            verify_ledger(str(self._path), KEY.verifier)
        except Damaged as found:
            # Without its traceback, which holds what was being read of the file that is written anew.
            return found.kind, found.where
        raise AssertionError(f"nothing was named: {statements}")


@pytest.fixture
def copy(original: bytes, tmp_path: Path) -> Copy:
    return Copy(original, tmp_path / "ledger.db")


def altered(data: bytes, chance: random.Random, positions: Iterator[int]) -> Iterator[bytes]:
    """The data with one bit flipped, and cut off, at each of the positions."""
    for position in positions:
        flipped = bytes([data[position] ^ (1 << chance.randrange(8))])
        yield data[:position] + flipped + data[position + 1 :]
        yield data[:position]


def some(data: bytes, chance: random.Random, count: int = SAMPLES) -> Iterator[int]:
    return iter(range(len(data)) if len(data) <= count else chance.sample(range(len(data)), count))


@pytest.mark.parametrize("index", range(SIZE))
def test_every_record_is_guarded(copy: Copy, index: int, chance: random.Random) -> None:
    where = f"record {index}"
    row = f"WHERE idx = {index}"
    leaf = copy.value(f"SELECT leaf FROM records {row}")
    for changed in altered(leaf, chance, some(leaf, chance, 2)):
        found = copy.damage(f"UPDATE records SET leaf = ? {row}", values=(changed,))
        assert found == (DamageKind.RECORD, where)
    found = copy.damage(f"DELETE FROM records {row}")
    assert found == (DamageKind.RECORD, where)
    other = index + 1 if index + 1 < SIZE else index - 1
    found = copy.damage(
        f"UPDATE records SET leaf = (SELECT leaf FROM records WHERE idx = {other}), "
        f"leaf_hash = (SELECT leaf_hash FROM records WHERE idx = {other}) {row}"
    )
    assert found == (DamageKind.RECORD, where)
    move = "UPDATE records SET idx = {} WHERE idx = {}"
    found = copy.damage(*(move.format(*each) for each in ((-1, index), (index, other), (other, -1))))
    assert found == (DamageKind.RECORD, f"record {min(index, other)}")


@pytest.mark.parametrize("column", INDEX_COLUMNS)
def test_every_column_is_guarded(copy: Copy, column: str, chance: random.Random) -> None:
    index = chance.randrange(SIZE)
    other = {"at_ms": (f"{column} + 1", "'x'"), "version": (f"{column} + 1", "'x'")}
    for value in (*other.get(column, (f"{column} || ' '", f"substr({column}, 1, 3) || 'x'")), "x'00'"):
        found = copy.damage(f"UPDATE records SET {column} = {value} WHERE idx = {index}")
        assert found == (DamageKind.COLUMN, f"record {index}")


@pytest.mark.parametrize("size", range(0, SIZE + 1, TOGETHER))
def test_every_checkpoint_is_guarded(copy: Copy, size: int, chance: random.Random) -> None:
    where = f"checkpoint {size}"
    row = f"WHERE size = {size}"
    note = copy.value(f"SELECT note FROM checkpoints {row}")
    positions = iter(range(len(note))) if size == SIZE else some(note, chance, 3)
    for changed in altered(note, chance, positions):
        found = copy.damage(f"UPDATE checkpoints SET note = ? {row}", values=(changed,))
        assert found == (DamageKind.CHECKPOINT, where)
    for column in ("root", "note", "at_ms"):
        other = abs(size - TOGETHER)
        value = f"(SELECT {column} FROM checkpoints WHERE size = {other})"
        found = copy.damage(f"UPDATE checkpoints SET {column} = {value} {row}")
        assert found == (DamageKind.CHECKPOINT, where)
    found = copy.damage(f"DELETE FROM checkpoints {row}")
    assert found == (DamageKind.CHECKPOINT, where if size < SIZE else "record 36")
    found = copy.damage(f"INSERT INTO checkpoints SELECT size + 1, root, note, at_ms FROM checkpoints {row}")
    assert found == (DamageKind.CHECKPOINT, f"checkpoint {size + 1}")


def test_every_byte_of_a_tile_is_guarded(copy: Copy, chance: random.Random) -> None:
    data = copy.value("SELECT data FROM tiles WHERE level = 0 AND idx = 0")
    for changed in (*altered(data, chance, some(data, chance, 30)), data + data[-32:], data + b"\0"):
        found = copy.damage("UPDATE tiles SET data = ?", values=(changed,))
        assert found == (DamageKind.TILE, "tile 0/0")


@pytest.mark.parametrize("index", range(TOGETHER - 1, SIZE, TOGETHER))
def test_every_reason_is_guarded(copy: Copy, index: int) -> None:
    for change in (
        f"DELETE FROM record_reasons WHERE idx = {index}",
        f"UPDATE record_reasons SET reason = 'X' WHERE idx = {index}",
        f"INSERT INTO record_reasons VALUES ({index}, 'X')",
    ):
        found = copy.damage(change)
        assert found == (DamageKind.REASON, f"record {index}")
    found = copy.damage(f"UPDATE record_reasons SET idx = idx - 1 WHERE idx = {index}")
    assert found == (DamageKind.REASON, f"record {index - 1}")
