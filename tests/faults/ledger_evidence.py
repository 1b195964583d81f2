"""What must hold of a ledger after anything that may happen to it, seen without the code that wrote it."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.merkle import root_of
from audit.verifier.ledger import verify_ledger
from tests.unit.audit.ledger_world import KEY, append, failure, ledger_in


def seeded() -> random.Random:
    """Which harm is done when; the seed is printed, and can be given."""
    seed = int(os.environ.get("FAULT_SEED", random.SystemRandom().getrandbits(32)))
    print(f"FAULT_SEED={seed}")
    return random.Random(seed)


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody was told: leaf hashes by position, and the signed checkpoint of each size."""

    hashes: Mapping[int, str]
    checkpoints: Mapping[int, str]


def told(lines: Iterable[Mapping[str, Any]]) -> Told:
    """What the lines acknowledge, no position twice."""
    hashes, notes = dict[int, str](), dict[int, str]()
    for line in lines:
        if "acknowledged" in line:
            for index, value in line["acknowledged"].items():
                assert int(index) not in hashes, "two commits got the same position"
                hashes[int(index)] = value
            notes[line["size"]] = line["checkpoint"]
    return Told(hashes, notes)


def journalled(directory: Path) -> list[dict[str, Any]]:
    """The answers in the journals; of a line that a kill cut off nobody was told."""
    found = list[dict[str, Any]]()
    for journal in directory.glob("journal-*"):
        with journal.open(encoding="utf-8") as lines:
            found += [json.loads(line) for line in lines if line.endswith("\n")]
    return found


def pinned(directory: Path) -> Checkpoint:
    """The checkpoint outside the database."""
    return open_checkpoint((directory / "pin").read_bytes(), KEY.verifier).checkpoint


def require_all(directory: Path, answers: Told) -> int:
    """Whatever was told is in the database, which extends every checkpoint told and the pin. Returns its size."""
    with closing(sqlite3.connect(directory / "ledger.db")) as connection:
        rows = connection.execute("SELECT idx, leaf_hash FROM records ORDER BY idx").fetchall()
        notes = {
            size: note.decode() for size, note in connection.execute("SELECT size, note FROM checkpoints")
        }
    hashes = [value for _, value in rows]
    assert [index for index, _ in rows] == list(range(len(rows)))
    missing = {
        index
        for index, value in answers.hashes.items()
        if hashes[index : index + 1] != [bytes.fromhex(value)]
    }
    assert not missing, f"acknowledged, and missing or another: {sorted(missing)[:10]}"
    assert {size: notes.get(size) for size in answers.checkpoints} == answers.checkpoints
    pin = pinned(directory)
    assert pin.size <= len(hashes) and pin.root == root_of(b"".join(hashes[: pin.size]))
    return len(hashes)


def require_sound(directory: Path) -> int:
    """Nothing is wrong with the ledger, it extends its pin, and it goes on. Returns its size."""
    known = (directory / "pin").read_bytes()
    size = verify_ledger(str(directory / "ledger.db"), KEY.verifier, known=known).size
    with ledger_in(directory, clock=lambda: datetime.now(UTC)) as ledger:
        assert append(ledger, failure()) == [size]
    return size + 1
