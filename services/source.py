"""The department's own database: which rows it holds about some subjects.

SQL is built from reflected tables and columns and from bound parameters, never from text that came in a call.
All subjects of a batch that ask the same columns of the same dataset share one `IN` query.
"""

import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from services.engine import make_engine, start_clock
from services.manifest import DatasetEntry, ManifestError, SourceSettings
from services.pages import Page, Pager, key_of
from services.reflection import ReflectedDataset, reflect
from services.resume import Position

# Bound parameters of one statement: larger ones are no faster (measured), and some engines take no more.
_CHUNK: Final = 900
_MAX_STATEMENTS: Final = 1024

Row = Sequence[Any]


class SourceUnavailable(Exception):
    """The database cannot be reached or does not answer now."""


class SourceTimeout(SourceUnavailable):
    """A statement ran longer than it may."""


@dataclass(slots=True)
class Rows:
    """What the database holds about the subjects that were asked.

    `rows` has an entry for each subject it knows, values in the order of the columns that were asked and the
    stored identifier after them; `too_many` are those with more rows than `max_rows_per_subject`.
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
        found = Rows()
        for part in self.parts(dataset, columns, subjects):
            found.rows.update(part.rows)
            found.too_many |= part.too_many
        return found

    def parts(
        self, dataset: str, columns: Sequence[str], subjects: Iterable[str]
    ) -> Generator[Rows, None, None]:
        """The rows of some subjects as `fetch` finds them, statement by statement; each subject is in one part.

        So no more is held at once than one statement finds. Args and errors are those of `fetch`; a generator that
        is not read to its end must be closed, because it holds a connection.
        """
        self.prepare()
        forms = self._reflected[dataset].forms
        asked = list(dict.fromkeys(subjects))
        step = max(1, _CHUNK // len(forms.subject.stored))
        with guarded(), self._engine.connect() as connection:
            for start in range(0, len(asked), step):
                part = forms.candidates(asked[start : start + step])
                if part:
                    yield from self._parts(connection, (dataset, tuple(columns)), part)

    def _parts(
        self, connection: sa.Connection, key: tuple[str, tuple[str, ...]], part: dict[Any, str]
    ) -> Iterator[Rows]:
        """Runs one query; when it finds more rows than one answer may hold, runs it on each half instead."""
        each = self._settings.max_rows_per_subject
        subjects = dict.fromkeys(part.values())
        most = each if len(subjects) == 1 else max(self._settings.max_rows_per_answer, each)
        start_clock(connection)
        rows = connection.execute(self._statement(*key), {"ids": list(part), "most": most + 1}).all()
        if len(rows) <= most or len(subjects) == 1:
            yield self._sort_out(key[0], rows, part)
            return
        first = frozenset(list(subjects)[: len(subjects) // 2])
        for half in (True, False):
            share = {bound: subject for bound, subject in part.items() if (subject in first) is half}
            yield from self._parts(connection, key, share)

    def _sort_out(self, dataset: str, rows: Sequence[sa.Row[Any]], part: dict[Any, str]) -> Rows:
        found = Rows()
        resolve = self._reflected[dataset].forms.resolver(part)
        for row in rows:
            subject = resolve(row[-1])
            if subject is not None:
                found.rows.setdefault(subject, []).append(row)
        limit = self._settings.max_rows_per_subject
        if len(rows) > limit:
            found.too_many = {subject for subject, own in found.rows.items() if len(own) > limit}
            for subject in found.too_many:
                del found.rows[subject]
        return found

    def _build(self, dataset: str, columns: tuple[str, ...]) -> sa.Select[Any]:
        reflected = self._reflected[dataset]
        key = reflected.column(reflected.forms.subject.column)
        return (
            sa.select(*(reflected.column(name).label(f"c{i}") for i, name in enumerate(columns)), key)
            .where(key.in_(sa.bindparam("ids", expanding=True, type_=key.type)))
            .limit(sa.bindparam("most", type_=sa.Integer()))
        )

    def pager(self, dataset: str, columns: Sequence[str]) -> Pager:
        """What `page` reads a dataset's rows with. Args and errors are those of `fetch`; and PageError."""
        self.prepare()
        reflected = self._reflected[dataset]
        with guarded(), self._engine.connect() as connection:
            start_clock(connection)
            key = key_of(connection, reflected)
        return Pager(reflected, columns, key, dialect=self._engine.dialect)

    def page(self, pager: Pager, after: Position | None, size: int) -> Page:
        """One page, on a connection that is free again when this returns.

        Raises:
            SourceUnavailable, SourceTimeout: as `fetch`.
            PageError, UnfitValue: as `Pager.page`.
        """
        with guarded(), self._engine.connect() as connection:
            return pager.page(connection, after, size)

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
