"""The statements of every commit, compiled once: what SQLAlchemy adds to each run would cost more than they do."""

from dataclasses import dataclass

from audit.ledger.schema import batch_lines, checkpoints, details, record_reasons, record_subjects, records
from audit.ledger.sqlite import SqliteStore
from audit.ledger.tree import NEWEST


@dataclass(frozen=True, slots=True)
class Statements:
    """SQL with positional parameters; `newest` has none."""

    record: str
    reason: str
    detail: str
    subject: str
    lines: str
    tile: str
    checkpoint: str
    newest: str

    @classmethod
    def compile(cls, store: SqliteStore) -> "Statements":
        """The statements in a store's dialect."""
        tables = (records, record_reasons, details, record_subjects, batch_lines)
        inserts = (*(each.insert() for each in tables), store.put_tiles(), checkpoints.insert())
        newest = NEWEST.compile(dialect=store.dialect, compile_kwargs={"literal_binds": True})
        texts = [str(each.compile(dialect=store.dialect)) for each in inserts]
        texts.append(str(newest))
        return cls(*texts)
