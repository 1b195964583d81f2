"""Reads that every exchange makes twice: compiled once, and run past all that SQLAlchemy would add to each run."""

from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

_KEYS: Final = "keys"
_named_tuple: Final[Any] = namedtuple  # its members are named by the query, where no type checker sees them

Build = Callable[[sa.ColumnElement[bool]], sa.Select[Any]]
"""Makes the query from the condition that a row has one of the keys, which stands in it once."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A query for so many keys: its text, and the names of the other parameters before and after the keys."""

    sql: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    constants: dict[str, Any]


class Prepared:
    """A query for rows by their keys.

    It is compiled for one, two, four, eight … keys, so that a handful of texts serves any number; what is missing up
    to the next of them is the last key again.

    Args:
        build: makes the query; its other parameters have a default each.
        by: the columns of a key. A key of one column is one value by itself.
        most: at most so many keys in one run, a power of two.
    """

    def __init__(self, build: Build, by: Sequence[sa.Column[Any]], *, most: int = 256) -> None:
        self._build = build
        self._by = tuple(by)
        self._most = most
        self._text = lru_cache(maxsize=64)(self._compile)
        columns = build(sa.true()).selected_columns
        self._named = _named_tuple("_row", [each.key for each in columns], rename=True)._make

    def rows(self, conn: sa.Connection, keys: Sequence[Any], **values: Any) -> list[Any]:
        """Returns the rows, named tuples of what the driver gives for each column, in no particular order.

        Args:
            conn: a snapshot, or the connection of a transaction.
            keys: each once.
            values: of the query's other parameters, by name.

        Raises:
            Exception: as the driver does; the ledger's snapshots and transactions translate it.
        """
        found: list[tuple[Any, ...]] = []
        cursor = conn.connection.cursor()
        try:
            for start in range(0, len(keys), self._most):
                part = keys[start : start + self._most]
                text = self._text(conn.dialect, 1 << (len(part) - 1).bit_length())
                cursor.execute(text.sql, self._parameters(text, part, values))
                found += cursor.fetchall()
        finally:
            cursor.close()
        return list(map(self._named, found))

    def _parameters(self, text: _Text, keys: Sequence[Any], values: dict[str, Any]) -> list[Any]:
        missing = (1 << (len(keys) - 1).bit_length()) - len(keys)
        filled = [*keys, *[keys[-1]] * missing]
        flat = [value for key in filled for value in key] if len(self._by) > 1 else filled
        others = text.constants | values
        return [*map(others.__getitem__, text.before), *flat, *map(others.__getitem__, text.after)]

    def _compile(self, dialect: sa.Dialect, size: int) -> _Text:
        by_place = dialect if dialect.positional else _by_place(type(dialect))
        compiled = self._build(self._among(size)).compile(
            dialect=by_place, compile_kwargs={"render_postcompile": True}
        )
        names = tuple(compiled.positiontup or ())
        places = [place for place, name in enumerate(names) if name.startswith(f"{_KEYS}_")]
        first, last = places[0], places[-1]
        assert len(places) == last - first + 1 == size * len(self._by), "the keys stand together"
        return _Text(str(compiled), names[:first], names[last + 1 :], dict(compiled.params))

    def _among(self, size: int) -> sa.ColumnElement[bool]:
        if len(self._by) == 1:
            return self._by[0].in_(sa.bindparam(_KEYS, [""] * size, expanding=True))
        # One comparison after the other: SQLite reads the whole table for a row of values on the left of an IN.
        return sa.or_(*(self._equal(number) for number in range(size)))

    def _equal(self, number: int) -> sa.ColumnElement[bool]:
        names = [f"{_KEYS}_{number}_{column.name}" for column in self._by]
        return sa.and_(
            *(column == sa.bindparam(name, "") for column, name in zip(self._by, names, strict=True))
        )


def _by_place(dialect: Callable[..., sa.Dialect]) -> sa.Dialect:
    return dialect(paramstyle="format")
