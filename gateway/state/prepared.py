"""Reads that every exchange makes twice: compiled once, and run past all that SQLAlchemy would add to each run."""

from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

_KEYS: Final = "keys"
_named_tuple: Final[Any] = namedtuple  # its members are named by the query, where no type checker sees them

Build = Callable[[sa.BindParameter[Any]], sa.Select[Any]]
"""Makes the query from the placeholder of its keys, which stands on the right of an `in_`."""


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
        width: how many values a key has; 0 for a key that is one value by itself.
        most: at most so many keys in one run, a power of two.
    """

    def __init__(self, build: Build, *, width: int = 0, most: int = 256) -> None:
        self._build = build
        self._width = width
        self._most = most
        self._text = lru_cache(maxsize=64)(self._compile)
        columns = build(sa.bindparam(_KEYS, expanding=True)).selected_columns
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
        flat = [value for key in filled for value in key] if self._width else filled
        others = text.constants | values
        return [*map(others.__getitem__, text.before), *flat, *map(others.__getitem__, text.after)]

    def _compile(self, dialect: sa.Dialect, size: int) -> _Text:
        by_place = dialect if dialect.positional else _by_place(type(dialect))
        blank: Any = ("",) * self._width if self._width else ""
        query = self._build(sa.bindparam(_KEYS, [blank] * size, expanding=True))
        compiled = query.compile(dialect=by_place, compile_kwargs={"render_postcompile": True})
        names = tuple(compiled.positiontup or ())
        places = [place for place, name in enumerate(names) if name.startswith(f"{_KEYS}_")]
        first, last = places[0], places[-1]
        assert len(places) == last - first + 1 == size * max(1, self._width), "the keys stand together"
        return _Text(str(compiled), names[:first], names[last + 1 :], dict(compiled.params))


def _by_place(dialect: Callable[..., sa.Dialect]) -> sa.Dialect:
    return dialect(paramstyle="format")
