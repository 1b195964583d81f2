"""Which version of a contract decides about exchanges at a moment."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from gateway.contracts.states import AGREED_ONCE, IN_FORCE
from gateway.state.contracts import ContractRow, with_signatures
from gateway.state.prepared import Prepared
from gateway.state.schema import contracts
from gateway.state.times import to_ms

_AGREED_ONCE = sorted(AGREED_ONCE)
_IN_FORCE = sorted(IN_FORCE)


def contracts_in_force(conn: sa.Connection, names: Collection[str], now: datetime) -> dict[str, ContractRow]:
    """Returns the version of each contract that decides about exchanges at `now`, by name.

    That is the one whose time it is: agreed, begun, not over, and not yet taken over by a later version. Where there is
    none it is the newest that both departments signed, even when it has ended since; and only where there is none of
    those either, the newest of any state. An open proposal so never disturbs what is in force, and a version agreed
    ahead of its time leaves no gap.

    Args:
        conn: a connection; one query for the versions and one for their signatures, per 500 names.
        names: `contracts/{contract}`, without versions.
        now: the moment of the decision.
    """
    found = _DECIDING.rows(conn, sorted(set(names)), now=to_ms(now))
    return {row.name: row for row in with_signatures(conn, found)}


def _deciding(named: sa.ColumnElement[bool]) -> sa.Select[Any]:
    agreed = sa.case((contracts.c.state.in_(_AGREED_ONCE), 1), else_=0)
    due = sa.case((_its_time(), 1), else_=0)
    rank = sa.func.row_number().over(
        partition_by=contracts.c.contract,
        order_by=(due.desc(), agreed.desc(), contracts.c.version.desc()),
    )
    chosen = sa.select(contracts, rank.label("rank")).where(named).subquery()
    return sa.select(chosen).where(chosen.c.rank == 1)


def _its_time() -> sa.ColumnElement[bool]:
    table, now = contracts.c, sa.bindparam("now", 0, type_=sa.BigInteger)
    return sa.and_(
        table.state.in_(_IN_FORCE),
        table.not_before <= now,
        table.not_after > now,
        sa.or_(table.superseded_at.is_(None), table.superseded_at > now),
    )


_DECIDING: Final = Prepared(_deciding, [contracts.c.contract])
