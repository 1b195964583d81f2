"""Reading a whole table page by page, each page from where the last one ended (keyset pagination).

Between two pages no statement runs and no connection is held: a consumer that reads slowly or goes away costs the
department nothing, a page has the time limit of any other statement, and a stream can go on days later.

Every row that stays as it is while the stream runs is sent exactly once. A row that is inserted, changed or deleted
meanwhile may be sent as it was or as it is, and an inserted or deleted one or not at all; a stream is not a snapshot.

A unique key gives the order: on SQLite the rowid, elsewhere the primary key. A view has none; there the subjects
are the order, all rows of one subject travel together, and rows without a subject are not sent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from services.engine import start_clock
from services.reflection import ReflectedDataset
from services.resume import Position
from services.values import UnfitValue

MAX_PAGE: Final = 65_536
"""Rows; also the most that one subject may have in a view."""

_EXACT: Final = frozenset({"sqlite", "postgresql"})
"""The engines on which equal subjects can be told to be the same text."""
_ROWID_NAMES: Final = ("rowid", "_rowid_", "oid")


class PageError(Exception):
    """The pages of a dataset cannot be read, or not from there. The message says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """What orders a dataset's rows. `counted` says that it is SQLite's rowid, which VACUUM may give anew."""

    columns: tuple[sa.ColumnElement[Any], ...]
    unique: bool
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, column by column.

    Args:
        columns: the values of each column that was asked.
        count: how many rows there are.
        keys: the columns of the key.
        origin: what the keys belong to; begins each position.
        whole: whether a position after any row, and not only after the last one, can be resumed from.
        last: whether no row follows.
    """

    columns: list[Sequence[Any]]
    count: int
    keys: list[Sequence[Any]]
    origin: str
    whole: bool
    last: bool

    def position(self, row: int) -> Position:
        """The position after a row, counted from 0."""
        return (self.origin, *(column[row] for column in self.keys))


def key_of(connection: sa.Connection, reflected: ReflectedDataset) -> Key:
    """The key that orders a dataset's rows. Raises PageError when there is none that is safe to go on from."""
    table, dialect = reflected.table, connection.dialect.name
    view = table.name in sa.inspect(connection).get_view_names(table.schema)
    if dialect == "sqlite" and not view:
        taken = {column.name.lower() for column in table.columns}
        for name in _ROWID_NAMES:
            if name not in taken and _has(connection, table, name):
                return Key((sa.literal_column(name, sa.BigInteger()),), unique=True, counted=True)
    primary = tuple(table.primary_key.columns)
    if primary and not view and not (dialect == "sqlite" and any(each.nullable for each in primary)):
        return Key(primary, unique=True)
    subject = reflected.column(reflected.forms.subject.column)
    if dialect not in _EXACT:
        raise PageError("the table has no primary key, and this engine may hold two subjects for equal")
    # Under a collation that ignores case, two subjects would be one, and half of it be skipped.
    text = isinstance(subject.type, sa.String) and dialect == "sqlite"
    return Key((sa.collate(subject, "BINARY") if text else subject,), unique=False)


def _has(connection: sa.Connection, table: sa.Table, rowid: str) -> bool:
    # A table WITHOUT ROWID has none, and SQLite tells only when asked.
    try:
        connection.execute(sa.select(sa.literal_column(rowid)).select_from(table).limit(0))
    except sa.exc.OperationalError:
        return False
    return True


class Pager:
    """Reads the pages of one dataset and some of its columns; safe to use from many threads.

    Args:
        reflected: the dataset.
        columns: column names of the manifest.
        key: as `key_of` finds it.
        dialect: of the engine that the connections come from.
    """

    def __init__(
        self, reflected: ReflectedDataset, columns: Sequence[str], key: Key, *, dialect: sa.Dialect
    ) -> None:
        self._key = key
        self._width = len(columns)
        self._dialect = dialect
        self._asked = [reflected.column(name) for name in columns]
        labelled = [each.label(f"c{i}") for i, each in enumerate(self._asked)]
        keys = [each.label(f"k{i}") for i, each in enumerate(key.columns)]
        first = sa.select(*labelled, *keys).select_from(reflected.table).order_by(*key.columns)
        if not key.unique:
            first = first.where(key.columns[0].is_not(None))
        self._first = first.limit(sa.bindparam("most", type_=sa.Integer()))
        self._next = self._first.where(_beyond(key.columns))

    def page(self, connection: sa.Connection, after: Position | None, size: int) -> Page:
        """The rows after a position, or the first ones.

        Args:
            size: how many rows at most; more where one subject of a view has more.

        Raises:
            PageError: the position belongs to another state of the table, or a subject has too many rows.
            UnfitValue: the driver cannot read a value as its column's own type.
        """
        origin = _origin(connection) if self._key.counted else ""
        if after is not None and after[0] != origin:
            raise PageError("the table was rebuilt since; begin anew")
        while True:
            rows = self._rows(connection, after, size)
            last = len(rows) < size
            if self._key.unique or last:
                break
            # The last subject's rows may go on behind the page: it waits for the next one.
            whole = [row for row in rows if row[-1] != rows[-1][-1]]
            if whole:
                rows = whole
                break
            if size >= MAX_PAGE:
                raise PageError(f"a subject has more than {MAX_PAGE} rows, and the view names no key")
            size = min(2 * size, MAX_PAGE)
        return self._columns(rows, origin, last=last)

    def _rows(self, connection: sa.Connection, after: Position | None, size: int) -> Sequence[Any]:
        start_clock(connection)
        if after is None:
            found = connection.execute(self._first, {"most": size})
        else:
            marks = {f"p{i}": each for i, each in enumerate(after[1:])}
            found = connection.execute(self._next, {"most": size, **marks})
        # The driver's own rows: wrapping each would cost as much as reading it.
        assert found.cursor is not None
        return found.cursor.fetchall()

    def _columns(self, rows: Sequence[Any], origin: str, *, last: bool) -> Page:
        width = self._width
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * (
            width + len(self._key.columns)
        )
        keys = columns[width:]
        for index, column in enumerate(self._asked):
            process = column.type.dialect_impl(self._dialect).result_processor(self._dialect, None)
            if process is not None:
                columns[index] = _processed(process, columns[index])
        return Page(columns[:width], len(rows), keys, origin, self._key.unique, last)


def _processed(process: Callable[[Any], Any], values: Sequence[Any]) -> list[Any]:
    try:
        return [process(value) for value in values]
    except (ValueError, TypeError, ArithmeticError):
        raise UnfitValue("a stored value is not of its column's own type") from None


def _beyond(columns: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[bool]:
    """That a key is greater than the one in the parameters p0, p1 …, in a form that an index can answer."""
    # Without a type, so that a driver gets back exactly the value that it gave.
    marks = [sa.bindparam(f"p{i}", type_=sa.types.NullType()) for i in range(len(columns))]
    greater = columns[-1] > marks[-1]
    for column, mark in reversed(list(zip(columns[:-1], marks[:-1], strict=True))):
        greater = sa.and_(column >= mark, sa.or_(column > mark, greater))
    return greater


def _origin(connection: sa.Connection) -> str:
    """What a rowid belongs to: this file, and its schema as it is now; VACUUM counts the schema up (sqlite.org)."""
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar()
    file = getattr(connection.connection.driver_connection, "file", ())
    return ":".join(str(each) for each in (version, *file))
