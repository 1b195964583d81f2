"""Prepared reads say what the same query says through SQLAlchemy, whatever the number of keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

from gateway.state.prepared import Prepared

_TABLE = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("名称", sa.Text),
)
_MANY = 700
_BY_NAME = Prepared(lambda named: sa.select(_TABLE).where(named), [_TABLE.c.name])
_BY_BOTH = Prepared(lambda both: sa.select(_TABLE.c.name).where(both), [_TABLE.c.name, _TABLE.c.size], most=4)
_BIGGER = Prepared(
    lambda named: sa.select(_TABLE.c.size).where(
        _TABLE.c.size > sa.bindparam("least", 0),
        named,
        _TABLE.c.size.in_([5, 6]),
        _TABLE.c.size < sa.bindparam("most", 0),
    ),
    [_TABLE.c.name],
)


@pytest.fixture(scope="module")
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as begun:
        _TABLE.create(begun)
        rows = [{"name": f"事{number}", "size": number, "名称": "名" * number} for number in range(_MANY)]
        begun.execute(_TABLE.insert(), rows)
        yield begun
    engine.dispose()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 255, 256, 257, 699, 700])
def test_each_key_is_found_once_however_many_there_are(connection: sa.Connection, count: int) -> None:
    names = [f"事{number}" for number in range(count)]
    found = _BY_NAME.rows(connection, [*names, "nobody"] if count else [])
    assert sorted(row.size for row in found) == list(range(count))
    assert all(row.名称 == "名" * row.size for row in found)


def test_a_key_of_several_values_is_found_as_a_whole(connection: sa.Connection) -> None:
    pairs = [("事1", 1), ("事2", 3), ("事4", 4), ("事5", 4), ("事6", 6), ("事6", 7)]
    assert sorted(row.name for row in _BY_BOTH.rows(connection, pairs)) == ["事1", "事4", "事6"]


def test_other_parameters_and_constants_keep_their_places(connection: sa.Connection) -> None:
    names = [f"事{number}" for number in range(10)]
    assert [row.size for row in _BIGGER.rows(connection, names, least=5, most=8)] == [6]
    assert [row.size for row in _BIGGER.rows(connection, names, least=4, most=6)] == [5]


def test_it_is_compiled_for_a_driver_that_names_its_parameters_too() -> None:
    text = _BIGGER._compile(psycopg.dialect(), 2)  # type: ignore[no-untyped-call]
    assert text.sql.count("%s") == len(text.before) + 2 + len(text.after)
    assert (text.before, text.after[-1]) == (("least",), "most")
