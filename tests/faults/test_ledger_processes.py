"""Several processes on one ledger."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from audit.verifier.ledger import verify_ledger
from tests.unit.audit.ledger_world import KEY

pytestmark = pytest.mark.fault

ROOT = Path(__file__).resolve().parents[2]


def worker(directory: Path, *arguments: object, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A worker process; `before` goes in front of its command."""
    command = [sys.executable, "-m", "tests.faults.ledger_worker", str(directory), *map(str, arguments)]
    return subprocess.Popen([*before, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What it says, as it says it; a line that a kill cut off says nothing."""
    assert process.stdout is not None
    with process.stdout as said:
        for line in said:
            if line.endswith("\n"):
                yield json.loads(line)


def stored(directory: Path) -> dict[int, str]:
    """The leaf hashes in the database."""
    with sqlite3.connect(directory / "ledger.db") as connection:
        rows = connection.execute("SELECT idx, hex(leaf_hash) FROM records").fetchall()
    connection.close()
    return {index: value.lower() for index, value in rows}


def acknowledged(said: Sequence[dict[str, Any]]) -> dict[int, str]:
    """The leaf hashes that were acknowledged."""
    found: dict[int, str] = {}
    for line in said:
        for index, value in line.get("acknowledged", {}).items():
            assert int(index) not in found, "two commits got the same position"
            found[int(index)] = value
    return found


def test_four_processes_give_one_contiguous_log(tmp_path: Path) -> None:
    process = worker(tmp_path, 25, "crowd")
    said = list(lines(process))
    assert process.wait() == 0
    acks = acknowledged(said)
    assert sorted(acks) == list(range(len(acks)))
    assert stored(tmp_path) == acks
    verified = verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier)
    assert (verified.size, verified.checkpoints) == (len(acks), 101)
