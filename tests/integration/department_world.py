"""A department's folder with real certificates, a manifest and a database, and nodes over it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from isthmus.errors import IsthmusError
from isthmus.identity import Identity, Role
from isthmus.ids import new_exchange, uuid7
from isthmus.pki import Authority, Credentials, create_authority, load_credentials, pinned_to
from isthmus.pki.store import save_authority, save_issued
from isthmus.statement import StatementKind, sign
from isthmus.status import from_rpc_error
from isthmus.terms import rfc3339
from isthmus.v1 import department_service_pb2 as department
from isthmus.v1.department_service_pb2_grpc import DepartmentServiceStub
from services.manifest_file import load_manifest
from services.node import Node

DOMAIN = "data.example"
NODE = Identity(DOMAIN, Role.NODE, "civil-registry", "n1")
GATEWAY = Identity(DOMAIN, Role.GATEWAY, None, "main")
SUBJECT = "11010119900307231X"

MANIFEST = """
[department]
name = "civil-registry"
title = "民政局"
[server]
trust_domain = "data.example"
address = "127.0.0.1:0"
certificate = "{node}.pem"
key = "{node}.key"
ca = "ca.pem"
metrics = "{metrics}"
hash_key = "hash.key"
[source]
url = "sqlite:///people.db"
[[dataset]]
id = "person"
title = "人口基础信息"
table = "人口"
sharing_class = "unconditional"
modes = ["query", "verify", "batch", "stream"]
subject = {{ column = "身份证号", scheme = "cn.resident-id" }}
[[dataset.field]]
name = "name"
column = "姓名"
type = "string"
transforms = ["mask:1"]
"""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Place:
    """A folder with an authority, a manifest and a database."""

    folder: Path
    authority: Authority

    def credentials(self, identity: Identity) -> Credentials:
        folder = self.folder / identity.resource.replace("/", "-")
        pem, key = save_issued(folder, identity, self.authority.issue(identity, now=now()), force=True)
        return load_credentials(pem, key, self.folder / "ca.pem")

    def grant(self, subject: str = SUBJECT, **changes: Any) -> str:
        at = now()
        payload = {
            "grant": uuid7(at),
            "department": "departments/civil-registry",
            "issued_at": rfc3339(at),
            "expires_at": rfc3339(at + timedelta(seconds=30)),
            "items": [
                {
                    "exchange": str(new_exchange(at)),
                    "mode": "QUERY",
                    "consumer": "departments/education",
                    "system": "departments/education/systems/enrolment",
                    "contract": "contracts/edu-person@1",
                    "terms_digest": "0" * 64,
                    "dataset": "departments/civil-registry/datasets/person",
                    "purpose": "入学资格审核",
                    "fields": [{"name": "name", "transform": "mask:1"}],
                    "row_filters": [],
                    "subjects": [{"scheme": "cn.resident-id", "id": subject, "token": "1." + "0" * 32}],
                    "predicate": None,
                }
            ],
        }
        return sign(payload | changes, StatementKind.GRANT, self.credentials(GATEWAY))

    def stream(self, **changes: Any) -> str:
        """A grant for a stream of every name."""
        at = now()
        item = {
            "exchange": str(new_exchange(at)),
            "mode": "STREAM",
            "consumer": "departments/education",
            "system": "departments/education/systems/enrolment",
            "contract": "contracts/edu-person@1",
            "terms_digest": "0" * 64,
            "dataset": "departments/civil-registry/datasets/person",
            "purpose": "入学资格审核",
            "fields": [{"name": "name", "transform": "mask:1"}],
            "row_filters": [],
            "subjects": [],
            "predicate": None,
            "filters": [],
            "encoding": "ROWS",
            "resume": "",
        }
        return self.grant(items=[item | changes])

    @contextmanager
    def call(self, port: int, identity: Identity = GATEWAY) -> Iterator[grpc.Channel]:
        credentials = self.credentials(identity)
        address = f"127.0.0.1:{port}"
        with grpc.secure_channel(
            address, credentials.channel_credentials(), options=pinned_to(NODE)
        ) as channel:
            yield channel

    def fetch(self, port: int, token: str) -> department.FetchResponse:
        with self.call(port) as channel:
            stub = DepartmentServiceStub(channel)
            return stub.Fetch(department.FetchRequest(grant=token), timeout=20)


def place_in(folder: Path) -> Place:
    """A department of one person, whose manifest and keys a node can start from."""
    authority = create_authority(DOMAIN, now=now())
    save_authority(folder, authority, force=False)
    pem, _ = save_issued(folder, NODE, authority.issue(NODE, now=now()), force=False)
    text = MANIFEST.format(node=pem.stem, metrics="127.0.0.1:0")
    (folder / "department.toml").write_text(text, encoding="utf-8")
    (folder / "hash.key").write_text("00" * 32 + "\n")
    with sqlite3.connect(folder / "people.db") as connection:
        connection.execute("CREATE TABLE 人口 (身份证号 TEXT PRIMARY KEY, 姓名 TEXT)")
        connection.execute("INSERT INTO 人口 VALUES (?, '王小明')", (SUBJECT,))
    connection.close()
    return Place(folder, authority)


@contextmanager
def running(place: Place) -> Iterator[Node]:
    manifest = load_manifest(place.folder / "department.toml", environ={})
    node = Node(manifest, clock=now, registry=CollectorRegistry(), check_seconds=0.05)
    node.start()
    try:
        yield node
    finally:
        node.stop(grace=2.0)


def error_of(call: Any) -> IsthmusError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return from_rpc_error(error.value)
