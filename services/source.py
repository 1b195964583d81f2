"""The department's own database: which rows it holds about some subjects.

SQL is built from reflected tables and columns and from bound parameters, never from text that came in a call.
All subjects of a batch that ask the same columns of the same dataset share one `IN` query.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from services.engine import make_engine, start_clock
from services.manifest import DatasetEntry, ManifestError, SourceSettings
from services.reflection import ReflectedDataset, reflect

_CHUNK: Final = {"sqlite": 10_000, "postgresql": 10_000, "mysql": 10_000, "mariadb": 10_000, "mssql": 1_000}
_SMALLEST_CHUNK: Final = 900
_MAX_STATEMENTS: Final = 1024

Row = tuple[Any, ...]


class SourceUnavailable(Exception):
    """The database cannot be reached or does not answer now."""


class SourceTimeout(SourceUnavailable):
    """A statement ran longer than it may."""


@dataclass(slots=True)
class Rows:
    """What the database holds about the subjects that were asked.

    `rows` has an entry for each subject it knows, values in the order of the columns that were asked;
    `too_many` are those with more rows than `max_rows_per_subject`.
    """

    rows: dict[str, list[Row]] = field(default_factory=dict)
    too_many: set[str] = field(default_factory=set)


class Source:
    """Reads datasets; safe to use from many threads.

    Args:
        settings: the database and the limits.
        datasets: the manifest's datasets.

    Raises:
        ValueError: the driver of the database is not installed.
    """

    def __init__(self, settings: SourceSettings, datasets: Iterable[DatasetEntry]) -> None:
        self._settings = settings
        self._datasets = tuple(datasets)
        self._engine = make_engine(settings)
        self._chunk = _CHUNK.get(self._engine.dialect.name, _SMALLEST_CHUNK)
        self._reflected: dict[str, ReflectedDataset] = {}
        self._lock = threading.Lock()
        self._statement = lru_cache(maxsize=_MAX_STATEMENTS)(self._build)

    def prepare(self) -> None:
        """Reflects every table once; does nothing when that has been done.

        Raises:
            SourceUnavailable: the database cannot be reached; trying again later may work.
            ManifestError: a table or column of the manifest does not exist.
        """
        with self._lock:
            if self._reflected or not self._datasets:
                return
            with guarded(), self._engine.connect() as connection:
                start_clock(connection)
                self._reflected = reflect(connection, self._datasets, self._settings.schema)
            self._statement.cache_clear()

    def ping(self) -> None:
        """Asks the database for a sign of life. Raises SourceUnavailable, or ManifestError as `prepare`."""
        self.prepare()
        with guarded(), self._engine.connect() as connection:
            start_clock(connection)
            connection.execute(sa.select(sa.literal(1)))

    def fetch(self, dataset: str, columns: Sequence[str], subjects: Iterable[str]) -> Rows:
        """The rows of some subjects.

        Args:
            dataset: the dataset's id in the manifest.
            columns: column names of the manifest; the order of the values in each row.
            subjects: canonical identifiers.

        Raises:
            SourceUnavailable: the database did not answer; SourceTimeout when it took too long.
            ManifestError: a table or column of the manifest does not exist.
        """
        self.prepare()
        found = Rows()
        bound = list(self._reflected[dataset].forms.candidates(dict.fromkeys(subjects)).items())
        with guarded(), self._engine.connect() as connection:
            for start in range(0, len(bound), self._chunk):
                start_clock(connection)
                part = dict(bound[start : start + self._chunk])
                self._fetch_part(connection, (dataset, tuple(columns)), part, found)
        return found

    def _fetch_part(
        self, connection: sa.Connection, key: tuple[str, tuple[str, ...]], part: dict[Any, str], found: Rows
    ) -> None:
        """Runs one query; when it finds more rows than one answer may hold, runs it on each half instead."""
        each = self._settings.max_rows_per_subject
        most = each if len(set(part.values())) == 1 else max(self._settings.max_rows_per_answer, each)
        rows = connection.execute(self._statement(*key), {"ids": list(part), "most": most + 1}).all()
        if len(rows) <= most or len(set(part.values())) == 1:
            self._sort_out(key[0], rows, part, found)
            return
        subjects = list(dict.fromkeys(part.values()))
        first = frozenset(subjects[: len(subjects) // 2])
        for half in (True, False):
            share = {bound: subject for bound, subject in part.items() if (subject in first) is half}
            self._fetch_part(connection, key, share, found)

    def _sort_out(self, dataset: str, rows: Sequence[sa.Row[Any]], part: dict[Any, str], found: Rows) -> None:
        resolve = self._reflected[dataset].forms.resolver(part)
        for row in rows:
            subject = resolve(row[0])
            if subject is not None:
                found.rows.setdefault(subject, []).append(tuple(row[1:]))
        limit = self._settings.max_rows_per_subject
        for subject in set(part.values()):
            if len(found.rows.get(subject, ())) > limit:
                found.too_many.add(subject)
                del found.rows[subject]

    def _build(self, dataset: str, columns: tuple[str, ...]) -> sa.Select[Any]:
        reflected = self._reflected[dataset]
        key = reflected.column(reflected.forms.subject.column)
        return (
            sa.select(key, *(reflected.column(name).label(f"c{i}") for i, name in enumerate(columns)))
            .where(key.in_(sa.bindparam("ids", expanding=True, type_=key.type)))
            .limit(sa.bindparam("most", type_=sa.Integer()))
        )

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()


class guarded:
    """Turns what SQLAlchemy raises into SourceUnavailable, without the statement or its parameters."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, ManifestError):
            return
        if isinstance(error, sa.exc.TimeoutError):
            raise SourceUnavailable("every connection to the department's database is in use") from None
        if isinstance(error, sa.exc.SQLAlchemyError):
            if isinstance(error, sa.exc.DBAPIError) and _was_interrupted(error):
                raise SourceTimeout("a statement took longer than statement_timeout_seconds") from None
            raise SourceUnavailable(f"the department's database failed: {type(error).__name__}") from None


def _was_interrupted(error: sa.exc.DBAPIError) -> bool:
    # SQLite says "interrupted"; PostgreSQL's SQLSTATE 57014 is query_canceled; MySQL's error 3024 is a timeout.
    original = error.orig
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    number = original.args[0] if original is not None and original.args else None
    return state == "57014" or number in (3024, 1969) or str(original) == "interrupted"
