"""The department, the dataset and the contracts that everything here is measured with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from isthmus.demo.scenario import Contract

PROVIDER: Final = "civil-registry"
CONSUMER: Final = "education"
SYSTEM: Final = f"/department/{CONSUMER}/system/enrolment"
DATASET: Final = f"departments/{PROVIDER}/datasets/person"
SCHEME: Final = "cn.resident-id"
PURPOSE: Final = "入学资格核验"
CASE: Final = "办件-2026-000417"
TABLE: Final = "resident"

MANIFEST: Final = """
[department]
name = "civil-registry"
title = "户籍管理部门 Civil registry"

[[dataset]]
id = "person"
title = "人口基本信息 Residents"
description = "合成数据。 Synthetic."
table = "resident"
sharing_class = "conditional"
conditions = ["仅用于合同列明的目的"]
modes = ["query", "verify", "batch", "stream"]
subject = { scheme = "cn.resident-id", column = "id", normalise = ["nfkc", "strip", "upper"] }
"""
_FIELD: Final = """
[[dataset.field]]
name = "{name}"
column = "{column}"
type = "{type}"
sensitivity = "personal"
"""

_COLUMNS: Final = (
    ("姓名", "name", "string"),
    ("出生日期", "born", "date"),
    ("户籍地址", "address", "string"),
    ("city", "city", "string"),
    ("household", "household", "int64"),
    ("income", "income", "int64"),
    ("rate", "rate", "double"),
    ("kind", "kind", "string"),
)
FIELDS: Final = tuple(name for name, _, _ in _COLUMNS)
"""The eight columns of a Stream."""

QUERY_FIELDS: Final = ("姓名", "出生日期", "户籍地址", "income")
"""What a Query and a BatchQuery ask for."""

_QUERY_TRANSFORMS: Final = {"姓名": "mask:1", "出生日期": "plain", "户籍地址": "mask:6", "income": "plain"}
CONSENTED: Final = "bench-consent"
STATUTORY: Final = "bench-statute"
BULK: Final = "bench-bulk"


def manifest() -> str:
    """The department's manifest, without addresses and keys."""
    fields = (_FIELD.format(name=name, column=column, type=kind) for name, column, kind in _COLUMNS)
    return MANIFEST + "".join(fields)


def contracts() -> tuple[Contract, ...]:
    """One that rests on consent, one on the law, and one for whole datasets, whose rows go out as they are."""
    common: dict[str, Any] = {
        "provider": PROVIDER,
        "consumer": CONSUMER,
        "systems": ("enrolment",),
        "dataset": "person",
        "purposes": (PURPOSE,),
        "legal_citation": "个人信息保护法 第十三条",
    }
    query, modes = _QUERY_TRANSFORMS, ("QUERY", "VERIFY", "BATCH")
    return (
        Contract(id=CONSENTED, fields=query, legal_basis="CONSENT", modes=modes, **common),
        Contract(id=STATUTORY, fields=query, legal_basis="PUBLIC_TASK", modes=modes, **common),
        Contract(
            id=BULK,
            fields=dict.fromkeys(FIELDS, "plain"),
            legal_basis="PUBLIC_TASK",
            modes=("STREAM",),
            **common,
        ),
    )


FEW_PEOPLE: Final = 100
FEW_CONTRACTS: Final = 10


def contract_of(number: int, contracts: int) -> int:
    """Under which of `contracts` like contracts resident `number` has consented.

    The first hundred are the same in a small state and in a large one, so that both can be asked the same.
    """
    return number % (min(contracts, FEW_CONTRACTS) if number < FEW_PEOPLE else contracts)


def resident(number: int) -> str:
    """The identifier of a resident, under an area code that was never assigned."""
    return f"990001{number:012d}"


def _rows(count: int) -> Iterator[tuple[object, ...]]:
    first = date(1950, 1, 1)
    for number in range(count):
        yield (
            resident(number),
            f"居民{number:07d}",
            str(first + timedelta(days=number % 20_000)),
            f"示范省示范市第{number % 997}街道{number % 89}号",
            f"city-{number % 300}",
            number // 3,
            1_000 + number % 50_000,
            (number % 10_007) / 7,
            ("家庭户", "集体户")[number % 2],
        )


def make_table(path: Path, rows: int) -> None:
    """Makes the department's own database with so many residents."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            f"CREATE TABLE {TABLE} (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, born DATE NOT NULL,"
            " address TEXT NOT NULL, city TEXT NOT NULL, household INTEGER NOT NULL, income INTEGER NOT NULL,"
            " rate REAL NOT NULL, kind TEXT NOT NULL)"
        )
        connection.executemany(f"INSERT INTO {TABLE} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _rows(rows))
