"""A contract signed by both, a consent, and a release that rests on them, as the log records them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audit.record import AccessRecord
from audit.verifier.ledger import verify_ledger
from tests.unit.audit.ledger_world import (
    KEY,
    append,
    control,
    decision,
    ledger_in,
    signatures,
)

CONSENT = "consents/01a209c9-b5bc-464f-96c7-f488ff7ebc42"
CONTRACT = decision().contract
SIGNED = signatures()
TOKEN = decision().subject_token
OTHER_CONSENT = f"{CONSENT[:-1]}3"


def granted(name: str = CONSENT, **changes: Any) -> AccessRecord:
    """A consent, as the gateway records it once all who are asked have given it."""
    change = {"event": "GRANTED", "supersedes": "", **changes.pop("change", {})}
    values = {"contract": CONTRACT, "subject_token": TOKEN, **changes}
    return control("GrantConsent", name, change=change, **values)


GRANTED = granted()


def allowed(**changes: object) -> AccessRecord:
    """A release that rests on a consent."""
    values = {"legal_basis": "CONSENT", "consents": ({"name": CONSENT, "position": 2},), **changes}
    return decision(**values)


def check(directory: Path, *records: AccessRecord, signed: tuple[AccessRecord, ...] = SIGNED) -> None:
    """Write the records as they come, behind the two signatures of the contract, and verify."""
    with ledger_in(directory) as ledger:
        for record in (*signed, *records):
            append(ledger, record)
    verify_ledger(str(directory / "ledger.db"), KEY.verifier)
