"""A world whose gateway and node export their spans, and one where nobody does; what a test asks there."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from audit.config import AuditConfig, LedgerSettings, ServerSettings, SubjectSettings
from isthmus.client import Client
from isthmus.identity import Role
from isthmus.pki import file_stem
from isthmus.tracing import TracingSettings
from tests.integration import exchange_world
from tests.integration.batch_calls import resident
from tests.integration.exchange_parties import (
    CONTRACT,
    DOMAIN,
    MANIFEST,
    PURPOSE,
    RESIDENT,
    party,
)
from tests.integration.exchange_world import World, world_in
from tests.integration.otlp_collector import Collector, Got

ASKED: dict[str, Any] = {
    "contract": CONTRACT,
    "purpose": PURPOSE,
    "fields": ["income"],
    "case_reference": "案2026-11号",
}
ANYONE: dict[str, Any] = {
    "legal_basis": "PUBLIC_TASK",
    "modes": ["QUERY", "VERIFY", "BATCH", "STREAM"],
    "fields": [{"name": name, "transform": "plain"} for name in ("姓名", "income", "city")],
}
STAGES = {"isthmus.admit", "isthmus.fetch", "isthmus.release", "isthmus.commit"}


@contextmanager
def exporting(folder: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Gateway and node export, and at once rather than every five seconds."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    (folder / "hash.key").write_text("5a" * 32)
    manifest = MANIFEST.replace("[server]\n", '[server]\nhash_key = "hash.key"\n')
    manifest += f'\n[tracing]\nendpoint = "{collector.endpoint}"\n'
    monkeypatch.setattr(exchange_world, "MANIFEST", manifest)
    with world_in(folder) as each:
        each.agree(**ANYONE)
        each.restart_gateway(tracing=TracingSettings(endpoint=collector.endpoint))
        yield each


@contextmanager
def silent(folder: Path) -> Iterator[World]:
    """Nobody exports anything."""
    with world_in(folder) as each:
        each.agree(**ANYONE)
        yield each


def fresh() -> str:
    return secrets.token_hex(16)


def parent_of(trace_id: str, *, flags: str = "01") -> str:
    return f"00-{trace_id}-b7ad6b7169203331-{flags}"


def ask(sdk: Client, *, subject: str = RESIDENT) -> str:
    return sdk.exchange.query(**ASKED, subject=("cn.resident-id", subject)).exchange


def verify(sdk: Client) -> str:
    subject, predicate = ("cn.resident-id", RESIDENT), ("income", ">=", 1000)
    asked = {name: value for name, value in ASKED.items() if name != "fields"}
    return sdk.exchange.verify(**asked, subject=subject, predicate=predicate).exchange


def batch(sdk: Client) -> str:
    subjects = [("cn.resident-id", resident(number)) for number in range(3)]
    return sdk.exchange.batch(**ASKED, subjects=subjects).exchange


def stream(sdk: Client) -> str:
    rows = sdk.exchange.stream(**ASKED)
    assert len(list(rows)) == 301
    return rows.result.exchange


def sole(found: list[Got]) -> Got:
    (one,) = found
    return one


def audit_config(world: World, collector: Collector | None) -> AuditConfig:
    identity = party(Role.AUDIT, name="main")
    world.credentials(identity)
    pki, stem, secret = world.folder / "pki", file_stem(identity), world.folder / "secrets"
    shutil.copy(world.folder / "pin", world.folder / "audit.pin")
    return AuditConfig(
        server=ServerSettings(
            address="127.0.0.1:0",
            trust_domain=DOMAIN,
            certificate=pki / f"{stem}.pem",
            key=pki / f"{stem}.key",
            ca=pki / "ca.pem",
        ),
        ledger=LedgerSettings(
            url=world.config.ledger.url, log_key=secret / "log.key", pin=world.folder / "audit.pin"
        ),
        subjects=SubjectSettings(current=1, keys={"1": secret / "subject-1.key"}, schemes={}),
        tracing=TracingSettings(endpoint=collector.endpoint if collector else "http://127.0.0.1:1"),
    )
