"""Why a ledger cannot be used. All answer UNAVAILABLE: without its ledger the gateway releases nothing."""

from datetime import timedelta
from pathlib import Path
from typing import Final

from isthmus.errors import AlreadyExists, Unavailable
from isthmus.reasons import Reason

_MANUAL: Final = "step by step: When the ledger refuses to start, docs/operator.md"


class LedgerUnavailable(Unavailable):
    """The records could not be made durable; nothing was written that anybody was told of. Trying again may help."""

    def __init__(self, cause: str, *, retry_after: timedelta | None = timedelta(seconds=1)) -> None:
        super().__init__(
            Reason.LEDGER_UNAVAILABLE, f"the ledger is not available: {cause}", retry_after=retry_after
        )


class LedgerRefused(LedgerUnavailable):
    """The ledger cannot be trusted, and trying again will not help: a person has to look."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"{cause} ({_MANUAL})", retry_after=None)


class LedgerRolledBack(LedgerRefused):
    """The database holds less than a checkpoint that was pinned outside it."""

    def __init__(self, size: int, pinned: int) -> None:
        super().__init__(
            f"it holds {size} records, but its pinned checkpoint covers {pinned}: an old copy of the database was "
            "put back, perhaps without its -wal file, or its newest part is lost. Restore the copy that reaches the "
            "pinned checkpoint. If that is lost for good, keep the pin as evidence, report the gap to the auditors, and "
            "begin a new log with a new key"
        )


class LedgerUnpinned(LedgerRefused):
    """The log holds records, and the pin that would notice an old copy is missing."""

    def __init__(self, pin: Path, size: int) -> None:
        super().__init__(
            f"it holds {size} records, but there is no pin at {pin}, so an old copy would go unnoticed. Copy the pin "
            "of another process of this ledger there, or a checkpoint that an auditor kept (`isthmus audit "
            "checkpoint` prints one); never one made from this database"
        )


class LedgerForked(LedgerRefused):
    """The database contradicts a checkpoint that was pinned outside it, or that this process saw."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"its first {size} records are not those of the checkpoint pinned at that size: history was rewritten, "
            "or this is the database of another installation. Do not append to it. Run `isthmus audit verify` on a "
            "copy, and restore the database the pin belongs to"
        )


class LedgerDamaged(LedgerRefused):
    """The database contradicts itself: checkpoint, tree and records do not belong together."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}. Do not append to it. Run `isthmus audit verify` on a copy, and restore a backup that the "
            "pinned checkpoint agrees with"
        )


class IndexDamaged(LedgerRefused):
    """What finds records contradicts them; the records themselves may be sound."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"its index is damaged: {what}. Stop whatever uses the ledger, run `isthmus audit rebuild-index` on it, "
            "which makes every index anew from the records, and start again"
        )


class LedgerKeyMismatch(LedgerRefused):
    """The ledger was begun with another key."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(
            f"it was begun with the log key {found}, but {expected} is configured. Configure the key of this "
            "ledger, or the ledger of this key"
        )


class DuplicateDecision(AlreadyExists):
    """An exchange has its decision record already (exactly one per exchange), or its stream the record of its end."""
