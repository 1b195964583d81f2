"""The audit service of these tests: five records that every reader sees differently, and ways to look."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from audit.ledger.schema import records
from audit.record import AccessRecord
from isthmus.identity import Identity
from isthmus.v1 import audit_service_pb2 as pb
from isthmus.v1.audit_service_pb2_grpc import AuditServiceStub
from tests.integration.audit_world import (
    OTHER_RESIDENT,
    RESIDENT,
    SCHEME,
    AuditWorld,
    audit_world_in,
    token,
)
from tests.unit.audit.ledger_world import append, control, decision, denial

PERSON = (SCHEME, RESIDENT)
TAXED = {
    "consumer": "departments/tax",
    "provider": "departments/civil-registry",
    "contract": "contracts/tax-person@1",
}
HEALTH = {
    "consumer": "departments/tax",
    "provider": "departments/health",
    "dataset": "departments/health/datasets/visit",
    "contract": "contracts/tax-visit@1",
}


@contextmanager
def filled_world(tmp_path: Path) -> Iterator[AuditWorld]:
    with audit_world_in(tmp_path) as world:
        append(
            world.ledger,
            decision(subject_token=token(RESIDENT, epoch=1)),
            denial("CONSENT_WITHDRAWN", "QUOTA_EXHAUSTED", subject_token=token(RESIDENT), **TAXED),
            decision(subject_token=token(OTHER_RESIDENT), mode="VERIFY", fields=(), **TAXED),
            control("SuspendContract", "contracts/tax-person@1", **TAXED),
            decision(
                subject_token=token(RESIDENT), decision="ERROR", reasons=("DEPARTMENT_TIMEOUT",), **HEALTH
            ),
        )
        yield world


def indexes(found: Any) -> list[int]:
    """The positions of records, searches left out."""
    return [each.index for each in found if each.kind != pb.RECORD_KIND_LOOKUP]


def leaves(world: AuditWorld) -> list[AccessRecord]:
    """Every record of the log."""
    with world.ledger.read() as connection:
        return [
            AccessRecord.parse(leaf)
            for leaf in connection.scalars(sa.select(records.c.leaf).order_by(records.c.idx))
        ]


def at_rest(world: AuditWorld) -> str:
    """All of the database but the erasable detail, as text."""
    tables = ("records", "record_reasons", "checkpoints", "tiles", "meta")
    with sqlite3.connect(world.folder / "ledger.db") as connection:
        rows = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
    connection.close()
    return "\n".join(str(row) for row in rows)


def stub(world: AuditWorld, who: Identity) -> AuditServiceStub:
    """The generated stub, for what the client does by itself."""
    return AuditServiceStub(world.client(who)._channel)
