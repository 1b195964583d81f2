"""Which department a contract's data comes from: a hint of where to send a question, and no part of any decision."""

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from gateway.state.prepared import Prepared
from gateway.state.schema import contracts


def providers(conn: sa.Connection, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Returns `departments/{department}` for each pair of a contract's name and its consumer; nothing for a contract
    that there is not, or that is somebody else's.

    Args:
        conn: a snapshot.
        pairs: `contracts/{contract}`, without version, and `departments/{department}`.
    """
    found = _PROVIDER.rows(conn, sorted({name for name, _ in pairs}))
    return {
        (row.contract, row.consumer): row.provider for row in found if (row.contract, row.consumer) in pairs
    }


_COLUMNS: Final = (contracts.c.contract, contracts.c.consumer, contracts.c.provider)
_PROVIDER: Final = Prepared(lambda named: sa.select(*_COLUMNS).where(named).distinct(), _COLUMNS[:1])
