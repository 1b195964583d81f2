"""What somebody with write access to a ledger could do to it, and what the verifier then names."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from audit.verifier.damage import Damaged
from audit.verifier.ledger import verify_ledger
from tests.unit.audit.ledger_world import KEY


def spoil(path: Path, *statements: tuple[str, tuple[Any, ...]] | str) -> None:
    """Change the file as somebody with write access to it could."""
    connection = sqlite3.connect(path)
    for statement in statements:
        sql, values = statement if isinstance(statement, tuple) else (statement, ())
        connection.execute(sql, values)
    connection.commit()
    connection.close()


def damage(path: Path) -> Damaged:
    """What the verifier names."""
    with pytest.raises(Damaged) as caught:
        verify_ledger(str(path), KEY.verifier)
    return caught.value


def altered(value: Any) -> Any:
    """Another value of the same type, as near as possible."""
    if isinstance(value, bytes):
        middle = len(value) // 2
        return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
    return value + 1 if isinstance(value, int) else f"{value[:-1]}~"


def flip(path: Path, table: str, column: str, where: str) -> None:
    """Alter one column of one row."""
    connection = sqlite3.connect(path)
    (value,) = connection.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
    connection.close()
    spoil(path, (f"UPDATE {table} SET {column} = ? WHERE {where}", (altered(value),)))
