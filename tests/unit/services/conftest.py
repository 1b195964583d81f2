"""A small department with a database, a manifest and a gateway that signs grants; everything but the wire."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client import CollectorRegistry

from isthmus.identity import Identity, Role
from isthmus.ids import new_exchange, uuid7
from isthmus.pki import Authority, Credentials, create_authority, load_credentials
from isthmus.statement import StatementKind, StatementVerifier, sign
from isthmus.terms import rfc3339
from isthmus.v1.department_service_pb2 import FetchResponse, StreamRowsResponse
from services.fetch import Fetcher
from services.grants import GrantVerifier
from services.journal import Journal
from services.manifest import Manifest
from services.manifest_file import load_manifest
from services.metrics import NodeMetrics
from services.parts import NodeParts
from services.plan import Planner
from services.resume import ResumeTokens
from services.source import Source
from services.stream import Streamer
from services.veto import VetoRules

DOMAIN = "data.example"
DEPARTMENT = "civil-registry"
PERSON = "departments/civil-registry/datasets/person"
TOKEN = "1." + "ab" * 16

MANIFEST = (
    """
[department]
name = "civil-registry"
title = "民政局"

[source]
url = "sqlite:///people.db"
max_rows_per_subject = 3
max_rows_per_answer = 20

[[dataset]]
id = "person"
title = "人口基础信息"
table = "人口"
sharing_class = "conditional"
modes = ["query", "verify", "batch", "stream"]
subject = { column = "身份证号", scheme = "cn.resident-id", normalise = ["strip-quotes", "upper"], stored = ["{}", '"{}"'] }

[[dataset.field]]
name = "name"
column = "姓名"
type = "string"
transforms = ["mask:1"]
[[dataset.field]]
name = "birth"
column = "出生日期"
type = "date"
[[dataset.field]]
name = "income"
column = "收入"
type = "decimal"
[[dataset.field]]
name = "children"
column = "子女"
type = "int64"
[[dataset.field]]
name = "district"
column = "区"
type = "string"
[[dataset.field]]
name = "secret"
column = "备注"
type = "string"
transforms = ["omit"]

[[dataset]]
id = "sealed"
title = "不予共享"
table = "人口"
sharing_class = "refused"
legal_citation = "《政务数据共享条例》第十四条"
subject = { column = "身份证号", scheme = "cn.resident-id" }
[[dataset.field]]
name = "name"
column = "姓名"
type = "string"

[[dataset]]
id = "query-only"
title = "只供查询"
table = "人口"
sharing_class = "unconditional"
modes = ["query"]
purposes = ["入学资格审核"]
subject = { column = "身份证号", scheme = "cn.resident-id", normalise = ["strip-quotes", "upper"], stored = ["{}", '"{}"'] }
[[dataset.field]]
name = "district"
column = "区"
type = "string"

[[dataset]]
id = "all"
title = "各种类型"
table = "各类"
sharing_class = "unconditional"
modes = ["query", "batch", "stream"]
subject = { column = "号", scheme = "cn.resident-id" }
"""
    + "".join(
        f'[[dataset.field]]\nname = "{kind}"\ntype = "{kind}"\n'
        for kind in ("bool", "int64", "double", "decimal", "string", "bytes", "date", "timestamp")
    )
    + """
[[dataset]]
id = "view"
title = "视图"
table = "看"
sharing_class = "unconditional"
modes = ["stream"]
subject = { column = "号", scheme = "cn.resident-id" }
[[dataset.field]]
name = "int64"
type = "int64"
"""
)

ROWS = [
    ("11010119900307231X", "王小明", "1990-03-07", "12345.60", 2, "海淀区", "甲"),
    ('"110101199003072320"', "李雷", "1990-03-07", "$9,900.00", 0, "朝阳区", "乙"),
    ("110101199003072339", "韩梅梅", "2001-12-31", None, None, "海淀区", None),
    *(("MANY", f"多行{n}", "2000-01-01", "1", n, "东城区", "") for n in range(4)),
    ("TWO", "一", "2000-01-01", "5", 1, "东城区", ""),
    ("TWO", "二", "2000-01-01", "6", 9, "西城区", ""),
    ("BROKEN", "坏", "not a date", "1", 1, "东城区", ""),
]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def credentials_of(authority: Authority, identity: Identity, now: datetime, folder: Path) -> Credentials:
    issued = authority.issue(identity, now=now)
    stem = identity.resource.replace("/", "-")
    paths = [folder / f"{stem}.pem", folder / f"{stem}.key", folder / "ca.pem"]
    paths[0].write_bytes(issued.certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    paths[2].write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    return load_credentials(*paths)


@dataclass
class World:
    """The node's core and the gateway in front of it."""

    folder: Path
    clock: Clock
    authority: Authority
    gateway: Identity
    gateway_credentials: Credentials
    node_credentials: Credentials
    manifest: Manifest
    source: Source
    journal: Journal
    fetcher: Fetcher
    streamer: Streamer
    parts: NodeParts
    registry: CollectorRegistry
    statements: StatementVerifier
    logs: list[Any] = field(default_factory=list)

    def item(self, subject: str = "11010119900307231X", **changes: Any) -> dict[str, Any]:
        return {
            "exchange": str(new_exchange(self.clock())),
            "mode": "QUERY",
            "consumer": "departments/education",
            "system": "departments/education/systems/enrolment",
            "contract": "contracts/edu-person@1",
            "terms_digest": "0" * 64,
            "dataset": PERSON,
            "purpose": "入学资格审核",
            "fields": [{"name": "district", "transform": "plain"}],
            "row_filters": [],
            "subjects": [{"scheme": "cn.resident-id", "id": subject, "token": TOKEN}],
            "predicate": None,
        } | changes

    def batch(self, *subjects: str, **changes: Any) -> dict[str, Any]:
        asked = {"scheme": "cn.resident-id", "ids": list(subjects), "tokens": [TOKEN] * len(subjects)}
        return self.item(mode="BATCH", subjects=asked, **changes)

    def stream(self, **changes: Any) -> dict[str, Any]:
        stream = {"mode": "STREAM", "subjects": [], "filters": [], "encoding": "ROWS", "resume": ""}
        return self.item(**(stream | changes))

    def payload(self, *items: dict[str, Any], **changes: Any) -> dict[str, Any]:
        now = self.clock()
        return {
            "grant": uuid7(now),
            "department": f"departments/{DEPARTMENT}",
            "issued_at": rfc3339(now),
            "expires_at": rfc3339(now + timedelta(seconds=30)),
            "items": list(items),
        } | changes

    def grant(self, *items: dict[str, Any], **changes: Any) -> str:
        return sign(self.payload(*items, **changes), StatementKind.GRANT, self.gateway_credentials)

    def fetch(self, *items: dict[str, Any]) -> FetchResponse:
        return self.fetcher.fetch(self.grant(*items), caller=self.gateway)

    def fill(self, rows: list[tuple[Any, ...]]) -> None:
        """Puts rows (号 and a value of each type) into 各类."""
        with sqlite3.connect(self.folder / "people.db") as connection:
            connection.executemany("INSERT INTO 各类 VALUES (?,?,?,?,?,?,?,?,?)", rows)
        connection.close()

    def responses(self, item: dict[str, Any]) -> Iterator[StreamRowsResponse]:
        token = self.grant(item)
        return self.streamer.stream(token, caller=self.gateway, wanted=lambda: True)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def credentials(self, identity: Identity, *, authority: Authority | None = None) -> Credentials:
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        return credentials_of(authority or self.authority, identity, self.clock(), folder)


def make_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE 人口 (身份证号 TEXT, 姓名 TEXT, 出生日期 TEXT, 收入 TEXT, 子女 INTEGER, 区 TEXT, 备注 TEXT)"
        )
        connection.execute("CREATE INDEX 按身份证 ON 人口 (身份证号)")
        connection.execute(
            'CREATE TABLE 各类 (号 TEXT, "bool", "int64", "double", "decimal", "string", "bytes", "date", "timestamp")'
        )
        connection.execute('CREATE VIEW 看 AS SELECT 号, "int64" FROM 各类')
        connection.executemany("INSERT INTO 人口 VALUES (?, ?, ?, ?, ?, ?, ?)", ROWS)
    connection.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manifest_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str = MANIFEST) -> Path:
        path = tmp_path / "department.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def world(tmp_path: Path, clock: Clock, manifest_file: Callable[..., Path]) -> Iterator[World]:
    make_database(tmp_path / "people.db")
    manifest = load_manifest(manifest_file(), environ={})
    authority = create_authority(DOMAIN, now=clock())
    gateway = Identity(DOMAIN, Role.GATEWAY, None, "main")
    node = Identity(DOMAIN, Role.NODE, DEPARTMENT, "n1")
    node_credentials = credentials_of(authority, node, clock(), tmp_path)
    statements = StatementVerifier(node_credentials.ca_certificates, DOMAIN, clock=clock)
    source, journal, registry = (
        Source(manifest.source, manifest.datasets),
        Journal(manifest.journal_url),
        CollectorRegistry(),
    )
    department = f"departments/{DEPARTMENT}"
    logs: list[Any] = []

    def keep(_: Any, __: str, event: Any) -> Any:
        logs.append(dict(event))
        return event

    parts = NodeParts(
        department=department,
        credentials=node_credentials,
        clock=clock,
        grants=GrantVerifier(department, statements=statements, clock=clock),
        planner=Planner(
            VetoRules(manifest.datasets, hashes=True),
            hash_key=bytes(32),
            zone=ZoneInfo(manifest.source.timezone),
        ),
        resume=ResumeTokens(bytes(32)),
        source=source,
        limits=manifest.source,
        journal=journal,
        metrics=NodeMetrics(registry),
        log=structlog.wrap_logger(structlog.ReturnLogger(), processors=[keep]),
    )
    yield World(
        folder=tmp_path,
        clock=clock,
        authority=authority,
        gateway=gateway,
        gateway_credentials=credentials_of(authority, gateway, clock(), tmp_path),
        node_credentials=node_credentials,
        manifest=manifest,
        source=source,
        journal=journal,
        fetcher=Fetcher(parts),
        streamer=Streamer(parts, most=2),
        parts=parts,
        registry=registry,
        statements=statements,
        logs=logs,
    )
    source.close()
    journal.close()
