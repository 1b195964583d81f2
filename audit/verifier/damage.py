"""What an offline verification can find wrong with a log."""

from enum import StrEnum


class DamageKind(StrEnum):
    """The kind of damage, for programs."""

    KEY = "KEY"
    """The ledger says that it is another log's, or of another version."""
    CHECKPOINT = "CHECKPOINT"
    """A checkpoint is missing, altered, or not signed by the log."""
    RECORD = "RECORD"
    """A record is missing, altered, or not where the log signed it."""
    CONTENT = "CONTENT"
    """A leaf that the log signed is not a record."""
    COLUMN = "COLUMN"
    """A column by which a record is found disagrees with its leaf."""
    REASON = "REASON"
    """The reasons by which a record is found disagree with its leaf."""
    TILE = "TILE"
    """A tile of the tree is missing, altered or superfluous."""
    DETAIL = "DETAIL"
    """Erasable detail is not what the record committed to, or belongs to no commitment."""
    SUBJECT = "SUBJECT"
    """The persons by which a batch is found disagree with its lines."""
    DUPLICATE = "DUPLICATE"
    """An exchange has two decision records."""
    RULE = "RULE"
    """A release contradicts an earlier record, such as a withdrawal."""
    UNFOUNDED = "UNFOUNDED"
    """A release rests on a contract or consent of which no earlier record shows the signatures."""
    STORAGE = "STORAGE"
    """The database file itself, or an index of it, is damaged."""
    ROLLBACK = "ROLLBACK"
    """The log ends before a checkpoint that it had signed."""
    FORK = "FORK"
    """The log signed two histories of which neither extends the other."""
    BUNDLE = "BUNDLE"
    """A file of an evidence bundle is missing, altered or superfluous, or the bundle is not in its one form."""
    STATEMENT = "STATEMENT"
    """A signed statement in an evidence bundle is forged, or not the one that its record names."""


class Damaged(Exception):
    """The first thing that is wrong with a log.

    Attributes:
        kind: the kind of damage.
        where: the place, such as `record 5`, `tile 1/0` or `tile/entries/000`.
        problem: what is wrong with it.
    """

    def __init__(self, kind: DamageKind, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem} ({kind})")
        self.kind = kind
        self.where = where
        self.problem = problem
