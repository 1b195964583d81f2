"""A gateway that records what it must not have done: its own bundle shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit.evidence.verify import verify_bundle
from audit.record import AccessRecord, Kind
from audit.verifier.damage import Damaged, DamageKind
from isthmus.ids import new_exchange
from tests.integration.evidence_world import EvidenceWorld, evidence_world_in
from tests.integration.exchange_parties import now
from tests.integration.stream_world import all_records

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EvidenceWorld]:
    with evidence_world_in(tmp_path) as world:
        contract = world.exchanges.agree()
        consent = world.exchanges.consent(contract)
        world.exchanges.query()
        yield world
        world.exchanges.withdraw(consent)


def release(world: EvidenceWorld, **changes: object) -> int:
    """Appends the last release once more, with changes; returns its position."""
    last = [each for each in all_records(world.exchanges) if each.kind is Kind.DECISION][-1]
    record: AccessRecord = replace(last, exchange=str(new_exchange(now())), **changes)  # type: ignore[arg-type]
    return world.server.ledger.transact(lambda tx: tx.append(record)).value


def verdict(world: EvidenceWorld, index: int, tmp_path: Path) -> Damaged:
    """What the verifier says of the bundle about the record."""
    path = tmp_path / f"{index}.zip"
    path.write_bytes(world.bundle(f"index = {index}"))
    with pytest.raises(Damaged) as caught:
        verify_bundle(path, world.key)
    return caught.value


def test_an_honest_repetition_is_in_order(world: EvidenceWorld, tmp_path: Path) -> None:
    path = tmp_path / "case.zip"
    path.write_bytes(world.bundle(f"index = {release(world)}"))
    assert verify_bundle(path, world.key).statements == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "闲逛"},
        {"mode": "STREAM", "legal_basis": "PUBLIC_TASK"},
        {"fields": ({"name": "ssn", "transform": "plain"},)},
    ],
)
def test_a_release_beyond_what_was_signed_is_named(
    world: EvidenceWorld, tmp_path: Path, changes: dict[str, object]
) -> None:
    index = release(world, **changes)
    error = verdict(world, index, tmp_path)
    assert (error.where, error.kind) == (f"record {index}", DamageKind.RULE)
    assert "more than" in error.problem


def test_a_release_after_the_withdrawal_is_named(world: EvidenceWorld, tmp_path: Path) -> None:
    consent = [each for each in all_records(world.exchanges) if each.action == "GrantConsent"][-1]
    withdrawal = replace(consent, exchange=str(new_exchange(now())), action="WithdrawConsent", change={})
    world.server.ledger.transact(lambda tx: tx.append(withdrawal))
    index = release(world)
    error = verdict(world, index, tmp_path)
    assert (error.where, error.kind) == (f"record {index}", DamageKind.RULE)


@pytest.mark.parametrize("changes", [{"contract": "contracts/other@1"}, {"terms_digest": "ab" * 32}])
def test_a_release_without_signatures_is_named(
    world: EvidenceWorld, tmp_path: Path, changes: dict[str, object]
) -> None:
    index = release(world, **changes)
    assert verdict(world, index, tmp_path).kind is DamageKind.UNFOUNDED


def test_a_signature_that_was_recorded_for_somebody_else_is_named(
    world: EvidenceWorld, tmp_path: Path
) -> None:
    signed = [each for each in all_records(world.exchanges) if each.action == "SignContract"][-1]
    portal = "spiffe://data.example/portal/citizen"
    for changes in ({"caller": portal}, {"resource": "contracts/x@1"}, {"terms_digest": "ab" * 32}):
        record = replace(signed, exchange=str(new_exchange(now())), **changes)  # type: ignore[arg-type]
        index = world.server.ledger.transact(lambda tx, record=record: tx.append(record)).value  # type: ignore[misc]
        error = verdict(world, index, tmp_path)
        assert error.kind is DamageKind.STATEMENT and error.where.startswith("statements/")
