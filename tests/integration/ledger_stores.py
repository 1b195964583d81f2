"""The stores that may keep a ledger. A second store joins by a second name in `STORES`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from audit.ledger import Ledger
from audit.ledger.schema import records
from tests.unit.audit.ledger_world import CONTROL, KEY, Clock

STORES = ["sqlite"]


def empty_database(store: str, folder: Path) -> str:
    """The address of a database of this store that does not exist yet."""
    return f"{store}:///{folder / 'ledger.db'}"


def open_ledger(url: str, **options: Any) -> Ledger:
    """Open it once more, as another process would."""
    values = {"log_key": KEY, "pin": None, "clock": Clock(), "metadata": [CONTROL], **options}
    return Ledger.open(url, **values)


def leaves(ledger: Ledger) -> list[bytes]:
    """Every leaf, in order; fails when the positions have a gap."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(records.c.idx, records.c.leaf).order_by(records.c.idx)).all()
    assert [row.idx for row in rows] == list(range(len(rows)))
    return [row.leaf for row in rows]
