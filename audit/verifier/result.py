"""What a verification found in order."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

Progress = Callable[[int, int], None]
"""Called with the number of records verified and of all records."""


class Source(StrEnum):
    """What was verified."""

    LEDGER = "LEDGER"
    """A ledger's database: records, detail, indexes, tiles and every checkpoint."""
    ENTRIES = "ENTRIES"
    """Tiles with entries: records and hashes up to one checkpoint. Erasable detail is not in tiles."""
    HASHES = "HASHES"
    """Tiles without entries: only hashes, up to one checkpoint."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A log in which nothing is wrong.

    Attributes:
        size: number of records.
        root: of the tree, 32 bytes.
        checkpoints: how many signed checkpoints agree.
        checkpoint: the newest.
        source: what was verified.
        begin: the first record verified; those before it were by an earlier run that left its state.
    """

    size: int
    root: bytes
    checkpoints: int
    checkpoint: str
    source: Source = Source.LEDGER
    begin: int = 0


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""
