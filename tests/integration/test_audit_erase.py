"""Erasing one person: what goes is gone from the files, what stays still verifies, and the log says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audit.batch.lines import BatchLines, LineError
from audit.batch.proof import prove_from
from audit.retention.actor import Actor
from audit.retention.erase import ErasureOrder, erase_subject
from audit.retention.rule import RetentionRule
from tests.integration import audit_world as service
from tests.integration.audit_world import audit_world_in
from tests.integration.audit_world import token as service_token
from tests.integration.retention_world import (
    KEYS,
    OLD_REASON,
    RESIDENT,
    SCHEME,
    WHY,
    RetentionWorld,
    careless,
    erase,
    line,
    texts,
    token,
)
from tests.unit.audit.ledger_world import KEY, decision

pytestmark = pytest.mark.integration

__all__ = ["careless"]


@pytest.fixture
def world(tmp_path: Path) -> RetentionWorld:
    return RetentionWorld(tmp_path)


def test_an_erased_person_leaves_a_log_that_verifies_and_a_record_of_the_erasure(
    world: RetentionWorld,
) -> None:
    told = erase(world)
    assert (told["details"], told["lines"], told["kept"]) == (2, 2, 2)
    world.verified()
    (record,) = world.records("EraseDetail")
    assert (record["change"]["details"], record["change"]["lines"]) == (2, 2)
    assert record["caller"] == "spiffe://data.example/audit/main"
    assert not any(token(RESIDENT, epoch)[2:] in json.dumps(record) for epoch in KEYS)
    assert WHY not in json.dumps(record, ensure_ascii=False) and record["change"]["reason_commitment"]


def test_nothing_of_what_was_erased_is_left_in_the_files(world: RetentionWorld, careless: None) -> None:
    salt, lines = world.salts[2].hex().encode(), texts(world.rows("SELECT lines FROM batch_lines"))
    own = [each for each in lines if token(RESIDENT, 1).encode() in each]
    before = world.at_rest()
    assert salt in before and len(own) == 2 and all(each in before for each in own)
    assert OLD_REASON.encode() in before
    with world.in_use():
        told = erase(world)
        after = world.at_rest()
    assert told["left_in_files"] is False
    assert salt not in after and OLD_REASON.encode() not in after
    assert not any(each in after for each in own)


def test_the_others_of_a_batch_can_still_be_proven_and_the_erased_one_cannot(world: RetentionWorld) -> None:
    erase(world)
    ledger, batch = str(world.folder / "ledger.db"), f"records/{world.old_batch}"
    _, proven = prove_from(ledger, batch, 1).check(KEY.verifier)
    assert proven.token != token(RESIDENT, 1)
    for number in (0, 3):
        with pytest.raises(LineError, match="was erased"):
            prove_from(ledger, batch, number)
    left = texts(world.rows(f"SELECT lines FROM batch_lines WHERE idx = {world.old_batch}"))
    assert [bool(each) for each in left] == [False, True, True, False]


def test_young_records_are_kept_until_somebody_orders_otherwise(world: RetentionWorld) -> None:
    erase(world)
    assert world.young in world.details()
    told = erase(world, "--ordered-by", "市网信办〔2026〕7号")
    assert (told["details"], told["lines"], told["kept"]) == (1, 2, 0)
    assert world.young not in world.details()
    change = world.records("EraseDetail")[-1]["change"]
    assert change["ordered_by_commitment"] and change["reason_commitment"]
    world.verified()


def test_erasing_twice_finds_nothing_and_says_so_in_the_log(world: RetentionWorld) -> None:
    erase(world)
    told = erase(world)
    assert (told["details"], told["lines"]) == (0, 0)
    assert len(world.records("EraseDetail")) == 2


def test_erasing_an_unknown_scheme_or_without_a_reason_is_refused(world: RetentionWorld) -> None:
    result = world.run("erase", "--subject", f"passport:{RESIDENT}", "--reason", WHY)
    assert result.exit_code == 1 and RESIDENT not in result.output
    result = world.run("erase", "--subject", f"{SCHEME}:{RESIDENT}", "--reason", " ")
    assert result.exit_code == 1 and "say why" in result.stderr and RESIDENT not in result.output


def test_a_search_for_an_erased_person_still_finds_the_records_and_says_what_is_gone(tmp_path: Path) -> None:
    """The token stays in the leaf, and with the batch: that somebody looked is not erased."""
    with audit_world_in(tmp_path) as served:
        people = [service_token(service.RESIDENT), service_token(service.OTHER_RESIDENT)]
        lines = [line(index, person) for index, person in enumerate(people)]
        batch = BatchLines.of(lines, set(people))
        record = decision(subject_token="", mode="BATCH", subject_count=2, subjects_root=batch.root)
        record = replace(record, outcomes={"ALLOW": 2}, row_count=2)
        served.ledger.transact(lambda tx: tx.append(decision(subject_token=people[0])))
        served.ledger.transact(lambda tx: tx.append(record, batch=batch))
        rule, actor = RetentionRule(3, "x"), Actor(service.AUDIT.uri, "00" * 32)
        order = ErasureOrder(tokens=[people[0]], reason=WHY, ordered_by="x")
        erase_subject(served.ledger, order, actor, rule)

        def told(person: str) -> list[str]:
            found = served.audit(service.AUDITOR).accesses((service.SCHEME, person), reason="x")
            return [each.summary for each in found]

        alone, among, *_ = told(service.RESIDENT)
        assert "was given full_name" in alone
        assert "what came of you has been erased" in among and "full_name" not in among
        assert "was given full_name" in told(service.OTHER_RESIDENT)[0]
        listed = served.audit(service.AUDITOR).records(subject=(service.SCHEME, service.RESIDENT), reason="x")
        assert {0, 1} <= {each.index for each in listed}
