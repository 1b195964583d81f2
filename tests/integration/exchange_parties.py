"""Who takes part in the exchange tests, what their data are, and what they ask."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from isthmus.identity import Identity, Role
from isthmus.terms import document_to_terms, rfc3339
from isthmus.v1.common_pb2 import OPERATOR_GE, Predicate, Subject, Value
from isthmus.v1.contract_service_pb2 import ContractTerms
from isthmus.v1.exchange_service_pb2 import (
    ExchangeContext,
    QueryRequest,
    VerifyRequest,
)

DOMAIN = "data.example"
REGISTRY, VETERANS, TAX = "civil-registry", "veterans", "tax"
PERSON = f"departments/{REGISTRY}/datasets/person"
PURPOSE, OTHER_PURPOSE = "优抚对象资格核验", "benefit check"
CONTRACT = "contracts/person-2026"
RESIDENT = "110101199003072316"
STRANGER = "110101199003079999"


def party(role: Role, department: str | None = None, name: str = "one") -> Identity:
    return Identity(DOMAIN, role, department, name)


GATEWAY = party(Role.GATEWAY, name="main")
NODE = party(Role.NODE, REGISTRY)
PROVIDER = party(Role.OFFICER, REGISTRY)
CONSUMER = party(Role.OFFICER, VETERANS)
SYSTEM = party(Role.SYSTEM, VETERANS, "benefits")
OTHER_SYSTEM = party(Role.SYSTEM, VETERANS, "archive")
OUTSIDER = party(Role.SYSTEM, TAX, "audit")
PORTAL = party(Role.PORTAL, name="citizen")
AUDITOR = party(Role.AUDITOR)
OPERATOR = party(Role.OPERATOR, name="shift")

MANIFEST = """
[department]
name = "civil-registry"
title = "民政局"

[server]
trust_domain = "data.example"
address = "127.0.0.1:0"
certificate = "pki/{node}.pem"
key = "pki/{node}.key"
ca = "pki/ca.pem"

[source]
url = "sqlite:///people.db"
statement_timeout_seconds = 20

[[dataset]]
id = "person"
title = "人口基础信息"
table = "人口"
sharing_class = "conditional"
conditions = ["仅用于公共服务"]
modes = ["query", "verify", "batch", "stream"]
subject = {{ column = "身份证号", scheme = "cn.resident-id", normalise = ["strip-quotes", "upper"], stored = ["{{}}"] }}
[[dataset.field]]
name = "姓名"
column = "姓名"
type = "string"
[[dataset.field]]
name = "income"
column = "收入"
type = "int64"
[[dataset.field]]
name = "city"
column = "城市"
type = "string"
[[dataset.field]]
name = "secret"
column = "备注"
type = "string"
"""


def query(
    *,
    contract: str = CONTRACT,
    purpose: str = PURPOSE,
    case: str = "",
    emergency: str = "",
    resident: str = RESIDENT,
    scheme: str = "cn.resident-id",
    fields: Sequence[str] = ("姓名", "income"),
) -> QueryRequest:
    return QueryRequest(
        context=ExchangeContext(contract=contract, purpose=purpose, case_reference=case, emergency=emergency),
        subject=Subject(scheme=scheme, id=resident),
        fields=fields,
    )


def verify(*, field: str = "income", at_least: int = 1000, resident: str = RESIDENT) -> VerifyRequest:
    return VerifyRequest(
        context=ExchangeContext(contract=CONTRACT, purpose=PURPOSE),
        subject=Subject(scheme="cn.resident-id", id=resident),
        predicate=Predicate(field=field, operator=OPERATOR_GE, values=[Value(int64_value=at_least)]),
    )


def make_database(path: Path) -> None:
    """The registry's own database: one known person, and whoever else is numbered."""
    people = [(RESIDENT, "王小明", 5200, "北京", "不外传")]
    people += [(f"1101011990030{n:05d}", f"居民{n}", 1000 + n, "上海", "不外传") for n in range(300)]
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE 人口 (身份证号 TEXT PRIMARY KEY, 姓名 TEXT, 收入 INT, 城市 TEXT, 备注 TEXT)"
        )
        connection.executemany("INSERT INTO 人口 VALUES (?, ?, ?, ?, ?)", people)
    connection.close()


def now() -> datetime:
    return datetime.now(UTC)


def terms(**changes: Any) -> ContractTerms:
    """Terms in force for a hundred days; `changes` replace members of the document."""
    at = now() - timedelta(seconds=1)
    document = {
        "provider": f"departments/{REGISTRY}",
        "consumer": f"departments/{VETERANS}",
        "systems": [SYSTEM.resource],
        "dataset": PERSON,
        "fields": [
            {"name": "姓名", "transform": "mask:1"},
            {"name": "income", "transform": "plain"},
            {"name": "city", "transform": "plain"},
        ],
        "purposes": [PURPOSE, OTHER_PURPOSE],
        "legal_basis": "CONSENT",
        "legal_citation": "《个人信息保护法》第十三条第一款第一项",
        "modes": ["QUERY", "VERIFY"],
        "not_before": rfc3339(at),
        "not_after": rfc3339(at + timedelta(days=100)),
        "retention_days": 30,
    }
    return document_to_terms({**document, **changes})
