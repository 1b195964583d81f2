"""What a verification leaves for the next one, so that only what is new need be read.

One SQLite file holds the newest checkpoint that was verified, the right edge of its tree, and what the rules remember.
A verification is one transaction on it: a run that finds damage or is killed leaves the file as it was. Whoever can
write to it can hide a fork from the next run, so it belongs where whoever runs the log cannot reach.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import TileError, TlogError
from audit.tlog.keys import VerifierKey
from audit.tlog.tree import Edge

_APPLICATION: Final = 0x69737476
"""In the header of the file: `istv`."""
_FORMAT: Final = "2"
"""Raised whenever the rules remember something else: what older rules left out cannot be made up for."""
_CACHE_KIB: Final = 65_536


class StateError(ValueError):
    """The state file is none, is another's, or is in use; the message says what would make it pass."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where the last verification ended.

    Attributes:
        note: its checkpoint.
        edge: the right edge of its tree.
        at_ms: when its last record was appended, ms since 1970; None where it saw no records.
        counts: how many rows it saw of what can be counted again, by name.
    """

    note: bytes
    edge: Edge
    at_ms: int | None
    counts: Mapping[str, int]

    @property
    def size(self) -> int:
        """Number of records verified."""
        return self.edge.size


class State:
    """The state of one verification. Make it with `open_state`.

    Attributes:
        scratch: the database, in a transaction, for `Rules`.
        start: what the run before left; None on the first.
    """

    def __init__(self, scratch: sqlite3.Connection, start: Start | None) -> None:
        self.scratch = scratch
        self.start = start

    def save(self, start: Start) -> None:
        """Keep what was verified, all at once and on the disk when this returns: the next run begins there."""
        edge = start.edge
        kept = {"note": start.note, "at_ms": start.at_ms, "counts": json.dumps(dict(start.counts))}
        self.scratch.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", kept.items())
        self.scratch.execute("DELETE FROM edge")
        self.scratch.executemany("INSERT INTO edge VALUES (?, ?)", enumerate(edge.tiles))
        self.scratch.execute("COMMIT")


@contextmanager
def open_state(path: Path | None, key: VerifierKey, kind: str) -> Iterator[State]:
    """The state in a file, or one that is forgotten.

    Args:
        path: the file, made when it is missing; None for a private one that is deleted at the end.
        key: of the log.
        kind: what is verified. What was not seen of one kind of source cannot be gone on from with another.

    Raises:
        StateError: the file is no state, or of another log or kind, or another run uses it.
        OSError: it cannot be made.
    """
    if path is not None and path.exists() and not path.is_file():
        raise StateError(f"{path} is no file: name one, or one that does not exist yet")
    made = path is not None and _make(path)
    saved = False
    try:
        with closing(sqlite3.connect(path or "", isolation_level=None, timeout=0)) as scratch:
            try:
                state = State(scratch, _begin(scratch, key, kind))
            except sqlite3.OperationalError as error:
                raise StateError(f"the state file {path} cannot be used now: {error}") from error
            except sqlite3.DatabaseError as error:
                raise _unusable(path, str(error)) from error
            except TlogError as error:
                raise _unusable(path, "what it holds does not belong together") from error
            yield state
            saved = not scratch.in_transaction
    finally:
        # A file that holds nothing would be one more thing to wonder about.
        if path is not None and made and not saved:
            path.unlink(missing_ok=True)


def _make(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return False
    return True


def _begin(scratch: sqlite3.Connection, key: VerifierKey, kind: str) -> Start | None:
    scratch.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    scratch.execute("BEGIN IMMEDIATE")
    about = {"format": _FORMAT, "log_key": key.encode(), "kind": kind}
    (application,) = scratch.execute("PRAGMA application_id").fetchone()
    if scratch.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
        scratch.execute(f"PRAGMA application_id = {_APPLICATION}")
        scratch.execute("CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
        scratch.execute("CREATE TABLE edge (level INTEGER PRIMARY KEY, data BLOB)")
        scratch.executemany("INSERT INTO state VALUES (?, ?)", about.items())
        return None
    if application != _APPLICATION:
        raise StateError("this is no state file: name one that does not exist yet")
    found = dict(scratch.execute("SELECT key, value FROM state"))
    for name, value in about.items():
        if found.get(name) != value:
            words = (
                f"the state file has {name} {found.get(name)}, and this is {value}: name another state file"
            )
            raise StateError(words)
    note = bytes(found.get("note") or b"")
    signed = open_checkpoint(note, key).checkpoint
    edge = Edge.load(signed.size, _Held(dict(scratch.execute("SELECT level, data FROM edge"))))
    if edge.root != signed.root:
        raise TileError("the edge is not that of the checkpoint")
    return Start(note, edge, found.get("at_ms"), json.loads(found.get("counts") or "{}"))


class _Held:
    """The tiles of an edge, a `TileReader`."""

    def __init__(self, tiles: dict[int, bytes]) -> None:
        self._tiles = tiles

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Return the edge tile of the level."""
        data = self._tiles.get(level)
        if not isinstance(data, bytes):
            raise TileError(f"the edge tile of level {level} is missing")
        return data


def _unusable(path: Path | None, why: str) -> StateError:
    return StateError(f"{path} cannot be used as a state file ({why}): name another, and verify everything")
