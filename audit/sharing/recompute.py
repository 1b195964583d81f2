"""The same report from a copy of a log, by whoever holds one: a ledger's file, a folder of tiles, or a tile server.

What it reads is held against the log's signed checkpoint, record by record, so a figure can be contested and so can the
copy. That the records agree with each other and with the fences is for `isthmus audit verify`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from audit.ledger.offline import open_offline
from audit.ledger.schema import records
from audit.ledger.tree import newest_checkpoint
from audit.sharing.fold import SharingFold
from audit.sharing.report import make_report
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.errors import TlogError
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import hash_leaf
from audit.tlog.tiles import TILE_WIDTH, Bundle, decode_bundle, tile_width
from audit.tlog.tree import Edge
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.result import Progress, no_progress
from audit.verifier.source import TileLog, open_source, read_checkpoint, read_places
from isthmus.v1.sharing_service_pb2 import ReportSharingResponse

_AT_ONCE: Final = 16 * TILE_WIDTH
_EVERY_DAY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy of a log: its newest checkpoint, and its leaves in order, some at a time."""

    newest: Checkpoint
    leaves: Iterator[list[bytes]]


def recompute_report(
    location: str,
    key: VerifierKey,
    *,
    first: int,
    last: int,
    size: int | None = None,
    progress: Progress = no_progress,
) -> ReportSharingResponse:
    """Returns the report about the first records of a log.

    Args:
        location: the path of a ledger's database, a folder of tiles, or the http or https address of a tile server.
        key: the log's public key, from a source that whoever runs the log cannot change.
        first: the first day, by `audit.sharing.days.day_number`.
        last: the last day, included.
        size: how many records; all of them unless given.
        progress: told how far it is.

    Raises:
        Damaged: the copy is not what the log signed, or holds fewer records.
        SourceUnavailable: a server cannot be reached.
        OSError, ValueError: there is no such log.
    """
    fold = SharingFold(kept=_EVERY_DAY, since=first)
    edge, root = Edge.empty(), None
    with _open(location, key) as copy:
        wanted = copy.newest.size if size is None else size
        if wanted > copy.newest.size:
            words = f"it holds {copy.newest.size} records, and the report is about {wanted}"
            raise Damaged(DamageKind.RECORD, location, words)
        if wanted == 0:
            root = edge.root
        for leaves in copy.leaves:
            before = edge.size
            for part in (leaves[: max(0, wanted - before)], leaves[max(0, wanted - before) :]):
                if part:
                    edge = edge.append([hash_leaf(leaf) for leaf in part]).edge
                if root is None and edge.size == wanted:
                    root = edge.root
            _take(fold, leaves, wanted)
            progress(edge.size, copy.newest.size)
        if (edge.size, edge.root) != (copy.newest.size, copy.newest.root):
            words = "its records are not those that its checkpoint is signed over"
            raise Damaged(DamageKind.RECORD, location, words)
    assert root is not None
    return make_report(fold, first, last, root=root)


def differences(served: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """What two reports, as JSON members, say differently; a line each, with the place of the figure."""
    return [
        f"{place}: served {one!r}, recomputed {other!r}" for place, one, other in _compare("", served, own)
    ]


def _take(fold: SharingFold, leaves: list[bytes], wanted: int) -> None:
    for leaf in leaves[: max(0, wanted - fold.size)]:
        try:
            fold.add(leaf)
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(DamageKind.CONTENT, f"record {fold.size}", "it is no record") from error


@contextmanager
def _open(location: str, key: VerifierKey) -> Iterator[_Copy]:
    if location.startswith(("http://", "https://")) or Path(location).is_dir():
        log = open_source(location)
        newest = _signed(read_checkpoint(log), key)
        yield _Copy(newest, _of_tiles(log, newest.size))
        return
    try:
        with open_offline(location) as connection:
            head = newest_checkpoint(connection)
            newest = _signed(head.note if head is not None else None, key)
            yield _Copy(newest, _of_ledger(connection, newest.size))
    except sa.exc.DBAPIError as error:
        raise Damaged(DamageKind.STORAGE, location, "it is no ledger, or cannot be read") from error


def _signed(note: bytes | None, key: VerifierKey) -> Checkpoint:
    if note is None:
        raise Damaged(DamageKind.CHECKPOINT, "checkpoint", "there is none")
    try:
        return open_checkpoint(note, key).checkpoint
    except TlogError as error:
        raise Damaged(DamageKind.CHECKPOINT, "checkpoint", f"it is not the log's: {error}") from error


def _of_ledger(connection: sa.Connection, size: int) -> Iterator[list[bytes]]:
    leaves = sa.select(records.c.leaf).order_by(records.c.idx)
    for begin in range(0, size, _AT_ONCE):
        end = min(size, begin + _AT_ONCE)
        query = leaves.where(records.c.idx >= begin, records.c.idx < end)
        found = list(connection.execute(query).scalars())
        if len(found) != end - begin:
            raise Damaged(DamageKind.RECORD, f"records {begin} to {end - 1}", "some of them are missing")
        yield found


def _of_tiles(log: TileLog, size: int) -> Iterator[list[bytes]]:
    for begin in range(0, -(-size // TILE_WIDTH), _AT_ONCE // TILE_WIDTH):
        end = min(-(-size // TILE_WIDTH), begin + _AT_ONCE // TILE_WIDTH)
        places = [Bundle(index, tile_width(0, index, size)) for index in range(begin, end)]
        found: list[bytes] = []
        for place, (data, _) in zip(places, read_places(log, list(places)), strict=True):
            if data is None:
                raise Damaged(DamageKind.RECORD, place.path, "it is missing")
            try:
                found += decode_bundle(data, place.width)
            except TlogError as error:
                raise Damaged(DamageKind.RECORD, place.path, str(error)) from error
        yield found


def _compare(place: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            yield from _compare(f"{place}.{name}".lstrip("."), one.get(name), other.get(name))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _compare(f"{place}[{number}]", left, right)
    elif one != other:
        yield place, one, other
