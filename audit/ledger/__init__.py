"""The ledger: records, tree and signed checkpoint, changed together or not at all."""

from audit.ledger.errors import (
    DuplicateDecision,
    LedgerDamaged,
    LedgerForked,
    LedgerKeyMismatch,
    LedgerRefused,
    LedgerRolledBack,
    LedgerUnavailable,
    LedgerUnpinned,
)
from audit.ledger.ledger import Ledger
from audit.ledger.transaction import Commit, Transaction
from audit.ledger.tree import Head

__all__ = [
    "Commit",
    "DuplicateDecision",
    "Head",
    "Ledger",
    "LedgerDamaged",
    "LedgerForked",
    "LedgerKeyMismatch",
    "LedgerRefused",
    "LedgerRolledBack",
    "LedgerUnavailable",
    "LedgerUnpinned",
    "Transaction",
]
