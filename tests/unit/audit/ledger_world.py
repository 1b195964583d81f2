"""A small ledger for the tests: its key, its clock, and records as a gateway would write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from audit.ledger import Ledger
from audit.record import AccessRecord, Kind
from audit.tlog.keys import SignerKey
from isthmus.ids import new_exchange

KEY = SignerKey.from_seed("ledger.example/log", bytes(32))
OTHER_KEY = SignerKey.from_seed("ledger.example/log", bytes(31) + b"\1")
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)

CONTROL = sa.MetaData()
NOTES = sa.Table("notes", CONTROL, sa.Column("text", sa.Text, primary_key=True))
"""A control table, as the gateway brings its own."""


class Clock:
    """A clock that goes on by a second each time it is read."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def exchange() -> str:
    """The name of a new exchange."""
    return str(new_exchange(START))


def decision(**changes: Any) -> AccessRecord:
    """The record of an exchange that was allowed, unless the changes say otherwise."""
    record = AccessRecord(
        exchange=exchange(),
        kind=Kind.DECISION,
        at={"in": START, "released": START},
        caller="spiffe://data.example/department/education/system/enrolment",
        certificate="ab" * 32,
        consumer="departments/education",
        provider="departments/civil-registry",
        dataset="departments/civil-registry/datasets/person",
        contract="contracts/edu-person-2026@2",
        terms_digest="cd" * 32,
        purpose="义务教育入学资格核验",
        legal_basis="PUBLIC_TASK",
        case_reference="案件-2026-001",
        subject_token="1.0123456789abcdef0123456789abcdef",
        subject_count=1,
        mode="QUERY",
        decision="ALLOW",
        policy_digest="ef" * 32,
        fields=(
            {"name": "full_name", "transform": "plain"},
            {"name": "birth_date", "transform": "bucket:year"},
        ),
        row_count=1,
        grpc_code="OK",
    )
    return replace(record, **changes)


def denial(*reasons: str, **changes: Any) -> AccessRecord:
    """The record of an exchange that was refused."""
    values = {"decision": "DENY", "reasons": reasons or ("NO_CONTRACT",), "fields": (), "row_count": 0}
    return decision(**{**values, "grpc_code": "PERMISSION_DENIED", **changes})


def failure(**changes: Any) -> AccessRecord:
    """The record of an exchange that failed: it rests on nothing."""
    values = {"decision": "ERROR", "fields": (), "row_count": 0, "grpc_code": "UNAVAILABLE"}
    return decision(**{**values, **changes})


def signatures(**changes: Any) -> tuple[AccessRecord, AccessRecord]:
    """The records by which both departments signed the contract that `decision` rests on."""
    found = decision()
    about = {"consumer": found.consumer, "provider": found.provider, "dataset": found.dataset}
    about |= {"contract": found.contract, "terms_digest": found.terms_digest, **changes}
    one, other = (
        control(
            "SignContract",
            about["contract"],
            **about,
            caller=f"spiffe://data.example/department/{name}/officer/li",
        )
        for name in ("education", "civil-registry")
    )
    return one, other


def control(action: str, resource: str, **changes: Any) -> AccessRecord:
    """The record of a control call that was carried out."""
    record = AccessRecord(
        exchange=exchange(),
        kind=Kind.CONTROL,
        at={"in": START},
        action=action,
        resource=resource,
        grpc_code="OK",
    )
    return replace(record, **changes)


def append(ledger: Ledger, *records: AccessRecord) -> list[int]:
    """Append the records in one transaction; returns their positions."""
    return ledger.transact(lambda tx: [tx.append(record) for record in records]).value


@contextmanager
def ledger_in(directory: Path, *, key: SignerKey = KEY, **options: Any) -> Iterator[Ledger]:
    """A ledger in a directory, pinned there too unless the options say otherwise."""
    values = {"pin": directory / "pin", "clock": Clock(), "metadata": [CONTROL], **options}
    ledger = Ledger.open(f"sqlite:///{directory / 'ledger.db'}", log_key=key, **values)
    try:
        yield ledger
    finally:
        ledger.close()
