"""An archive package: the log up to a date as C2SP tiles, entries and checkpoint, with the detail that can still be erased.

The folder is a whole log of its own, which `isthmus audit verify` and other people's verifiers read. Beside the tiles, in
`detail/`, lie the details and the lines of batches, and a list of all of it with digests. Nothing is removed from the
ledger: a leaf stays as long as the log does, since proofs and every index are made from it.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from audit.ledger.schema import batch_lines, checkpoints, details
from audit.record import format_time
from audit.retention.purge import first_since
from audit.retention.rule import RetentionRefused
from audit.tiles.export import export_tiles

FOLDER: Final = "detail"
_AT_ONCE: Final = 500
_PRIVATE: Final = 0o600

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Archived:
    """The package: the log's name, how many records it covers, and how much of what can be erased lies beside them."""

    log: str
    records: int
    details: int
    line_parts: int


def archive(
    connection: sa.Connection,
    folder: Path,
    before: datetime,
    *,
    detail: bool = True,
    progress: Progress = lambda done, total: None,
) -> Archived:
    """Write the package of the records logged before a time, up to the last checkpoint of them.

    Args:
        connection: one snapshot of the ledger, used only to read.
        folder: made when missing; else an earlier package of the same log, which is continued.
        before: aware.
        detail: whether what can be erased is written too. Then whoever erases must reach the package as well.
        progress: told how many files of tiles of how many are done.

    Raises:
        RetentionRefused: there is no record from before that time.
        ExportRefused, LedgerDamaged, OSError: as `audit.tiles.export`.
    """
    end = first_since(connection, before)
    covered = sa.select(sa.func.max(checkpoints.c.size))
    size = connection.scalar(covered if end is None else covered.where(checkpoints.c.size <= end)) or 0
    if size == 0:
        raise RetentionRefused(f"the log holds no record from before {format_time(before)}")
    done = export_tiles(connection, folder, entries=True, upto=size, progress=progress)
    place = folder / FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    written = {
        name: _write(place / name, documents)
        for name, documents in (_documents(connection, size) if detail else {}).items()
    }
    members = {"log": done.origin, "records": size, "before": format_time(before), "files": written}
    _write(place / "manifest.json", iter([members]))
    _sync(place)
    counts = [each["lines"] for each in written.values()] or [0, 0]
    return Archived(done.origin, size, *counts)


def _documents(connection: sa.Connection, size: int) -> dict[str, Iterator[Mapping[str, Any]]]:
    own = sa.select(details).where(details.c.idx < size).order_by(details.c.idx)
    parts = sa.select(batch_lines).where(batch_lines.c.idx < size)
    parts = parts.order_by(batch_lines.c.idx, batch_lines.c.part)
    return {
        "details.jsonl": (
            {"index": row.idx, "json": bytes(row.json).decode()} for row in _stream(connection, own)
        ),
        "batch-lines.jsonl": (
            {"index": row.idx, "part": row.part, "hashes": _text(row.hashes), "lines": _text(row.lines)}
            for row in _stream(connection, parts)
        ),
    }


def _stream(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[Any]:
    return iter(connection.execute(query, execution_options={"yield_per": _AT_ONCE}))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _write(path: Path, documents: Iterator[Mapping[str, Any]]) -> dict[str, Any]:
    """Writes a file whole or not at all, for its owner alone; returns its digest and how many documents it holds."""
    digest, count = hashlib.sha256(), 0
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE)
    with closing(os.fdopen(descriptor, "wb")) as file:
        for document in documents:
            data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            digest.update(data)
            count += 1
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    return {"sha256": digest.hexdigest(), "lines": count}


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
