"""Ledgers of any size for the tests of tiles: real tables, tree and checkpoints, made without a gateway's patience."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from audit.ledger.offline import open_offline
from audit.ledger.schema import METADATA, records
from audit.tiles.export import Exported, export_tiles
from audit.tiles.places import bundles, hash_tiles
from audit.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.tlog.keys import SignerKey
from audit.tlog.merkle import HASH_SIZE, hash_leaf
from audit.tlog.tiles import decode_bundle
from audit.tlog.tree import Edge
from tests.unit.audit.ledger_world import KEY

SPECIFIED = 70_000
"""The size that the specification takes for its example."""
_COLUMNS = [column.name for column in records.c]


def leaf(index: int) -> bytes:
    """The entry at a position: bytes that no other position has, some of them Chinese."""
    return f"记录 {index} ".encode() * (1 + index % 3)


def write_ledger(
    path: Path,
    size: int,
    *,
    key: SignerKey = KEY,
    before: int = 0,
    leaves: Callable[[int], bytes] = leaf,
) -> bytes:
    """Bring a ledger from `before` to `size` entries in one commit; returns its checkpoint."""
    engine = sa.create_engine(f"sqlite:///{path}")
    METADATA.create_all(engine)
    engine.dispose()
    with closing(sqlite3.connect(path)) as db, db:
        held = [hash_leaf(leaves(index)) for index in range(before)]
        edge = Edge.empty().append(held).edge
        hashes = [hash_leaf(leaves(index)) for index in range(before, size)]
        growth = edge.append(hashes)
        marks = ",".join("?" * len(_COLUMNS))
        rows = (_row(at, leaves(at), hashes[at - before]) for at in range(before, size))
        db.executemany(f"INSERT INTO records ({','.join(_COLUMNS)}) VALUES ({marks})", rows)
        tiles = [(level, index, data) for (level, index), data in growth.tiles.items()]
        db.executemany("INSERT OR REPLACE INTO tiles (level, idx, data) VALUES (?,?,?)", tiles)
        note = sign_checkpoint(Checkpoint(key.verifier.name, size, growth.root), key)
        db.execute(
            "INSERT INTO checkpoints (size, root, note, at_ms) VALUES (?,?,?,0)", (size, growth.root, note)
        )
    return note


def _row(index: int, entry: bytes, leaf_hash: bytes) -> tuple[object, ...]:
    known: dict[str, object] = {
        "idx": index,
        "leaf": entry,
        "leaf_hash": leaf_hash,
        "exchange": str(index),
    }
    known |= {"kind": "CONTROL", "at_ms": 0, "version": 0}
    return tuple(known.get(name, "") for name in _COLUMNS)


@contextmanager
def snapshot(path: Path) -> Iterator[sa.Connection]:
    """A ledger's file, opened for looking only."""
    with open_offline(str(path)) as connection:
        yield connection


def files_in(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def spoil(path: Path, sql: str, *values: object) -> None:
    """Change a ledger behind its back."""
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(sql, values).rowcount > 0


def export(ledger: Path, folder: Path, *, entries: bool = True) -> Exported:
    """One export of a ledger's file."""
    with snapshot(ledger) as connection:
        return export_tiles(connection, folder, entries=entries)


def require_whole(folder: Path, *, entries: bool = True) -> Checkpoint:
    """The checkpoint of a folder, if every file that its size calls for is there and leads to its root."""
    checkpoint = open_checkpoint((folder / "checkpoint").read_bytes(), KEY.verifier).checkpoint
    hashes = [hash_leaf(leaf(index)) for index in range(checkpoint.size)]
    growth = Edge.empty().append(hashes)
    assert growth.root == checkpoint.root
    for tile in hash_tiles(checkpoint.size):
        data = _file_or_full(folder, tile.path)[: tile.width * HASH_SIZE]
        assert data == growth.tiles[tile.level, tile.index], tile.path
    for bundle in bundles(checkpoint.size) if entries else ():
        found = decode_bundle(_file_or_full(folder, bundle.path), bundle.width)
        assert list(found) == [leaf(bundle.index * 256 + at) for at in range(bundle.width)]
    return checkpoint


def _file_or_full(folder: Path, path: str) -> bytes:
    """A partial tile, or the full one that superseded it: a client may take either (C2SP tlog-tiles)."""
    file = folder / path
    return (file if file.exists() else folder / path.partition(".p/")[0]).read_bytes()
