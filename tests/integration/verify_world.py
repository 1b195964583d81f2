"""A log that grows while it is verified, and its tiles as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audit.ledger.offline import open_offline
from audit.tiles.export import export_tiles
from tests.unit.audit.ledger_world import append, failure, ledger_in


def exported(directory: Path, *, entries: bool = True) -> Path:
    folder = directory / ("tiles" if entries else "hashes")
    with open_offline(str(directory / "ledger.db")) as connection:
        export_tiles(connection, folder, entries=entries)
    return folder


def grow(directory: Path, *batches: list[Any]) -> None:
    with ledger_in(directory) as ledger:
        for batch in batches:
            append(ledger, *batch)


def failures(count: int) -> list[Any]:
    return [failure() for _ in range(count)]
