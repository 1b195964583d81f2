"""A batch: an outcome for each subject, one record of all of it, and nothing about those who are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.verifier.ledger import verify_ledger
from gateway.config import PolicySection
from gateway.state.schema import emergency_uses
from isthmus.errors import Denied, InvalidArgument, IsthmusError, PermissionDenied, Reason
from isthmus.v1.common_pb2 import Subject
from tests.integration.batch_calls import (
    ANYONE,
    MODES,
    BatchNode,
    batch,
    lines_of,
    record_of,
    request,
    resident,
    tokens_of,
    told,
)
from tests.integration.exchange_parties import (
    CONSUMER,
    OTHER_SYSTEM,
    OUTSIDER,
    RESIDENT,
    STRANGER,
    SYSTEM,
)
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def consented(world: World, *numbers: int) -> None:
    contract = world.agree(modes=MODES)
    for number in numbers:
        world.consent(contract, resident=resident(number), modes=("BATCH",))


def test_who_consented_is_answered_about_and_the_others_are_refused_one_by_one(world: World) -> None:
    consented(world, 1, 3)
    answer = batch(world, [resident(number) for number in range(5)])
    assert answer.decisions() == "DADAD"
    assert [each.index for each in answer.outcomes] == [0, 1, 2, 3, 4]
    assert answer.reasons(0) == ["CONSENT_MISSING"] and answer.reasons(1) == []
    assert [column.name for column in answer.columns] == ["姓名", "income"]
    assert [each.rows[0].values[1].int64_value for each in answer.outcomes if each.rows] == [1001, 1003]
    index, record = record_of(world)
    assert (record.decision, record.subject_count, record.row_count, record.grpc_code) == (
        "ALLOW",
        5,
        2,
        "OK",
    )
    assert record.outcomes == {"ALLOW": 2, "CONSENT_MISSING": 3} and record.reasons == ()
    assert answer.receipt.record_index == index and answer.exchange == record.exchange
    assert answer.receipt.provider_receipt and record.provider_receipt_digest
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)


def test_no_identifier_reaches_the_department_of_who_is_refused_or_the_ledger_of_anybody(
    world: World,
) -> None:
    consented(world, 1)
    node = BatchNode(world)
    with node.serving():
        batch(world, [resident(0), resident(1), resident(2)])
    assert [item["subjects"]["ids"] for grant in node.grants for item in grant["items"]] == [[resident(1)]]
    assert not any(resident(number).encode() in world.everything_at_rest() for number in range(3))


def test_nobody_consented_so_the_department_is_not_troubled(world: World) -> None:
    consented(world)
    world.stop_node()
    answer = batch(world, [resident(0), resident(1)])
    assert answer.decisions() == "DD" and not answer.receipt.provider_receipt
    _, record = record_of(world)
    assert (record.decision, record.reasons, record.grpc_code) == ("DENY", ("CONSENT_MISSING",), "OK")
    assert "fetched" not in record.at and record.fields == ()


def test_whom_the_department_does_not_know_is_an_answer(world: World) -> None:
    world.agree(**ANYONE)
    answer = batch(world, [RESIDENT, STRANGER], case="1")
    assert answer.decisions() == "AA"
    assert [each.subject_known for each in answer.outcomes] == [True, False]


def test_an_identifier_that_is_none_harms_nobody_else(world: World) -> None:
    world.agree(**ANYONE)
    answer = batch(world, [RESIDENT, " NONE ", "a\x07b", resident(1)], case="1")
    assert answer.decisions() == "AEEA" and answer.reasons(1) == ["INVALID_ARGUMENT"]
    index, record = record_of(world)
    assert record.outcomes == {"ALLOW": 2, "INVALID_ARGUMENT": 2}
    assert [line.token == "" for line in lines_of(world, index)] == [False, True, True, False]


def test_who_is_named_twice_is_looked_up_once_and_answered_twice(world: World) -> None:
    world.agree(**ANYONE)
    node = BatchNode(world)
    with node.serving():
        answer = batch(world, [RESIDENT, f'"{RESIDENT}"', resident(1), f" {RESIDENT} "], case="1")
    assert answer.decisions() == "AAAA"
    assert answer.outcomes[0].rows == answer.outcomes[1].rows == answer.outcomes[3].rows
    assert node.grants[0]["items"][0]["subjects"]["ids"] == [RESIDENT, resident(1)]
    index, record = record_of(world)
    assert (record.subject_count, record.row_count, len(tokens_of(world, index))) == (4, 4, 2)
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)


def test_chinese_identifiers_arrive_as_they_are(world: World) -> None:
    world.agree(**ANYONE)
    people = ["京残字第0001号", "𠮷野家", "e\u0301"]
    node = BatchNode(world)
    with node.serving():
        answer = batch(world, people, case="1")
    assert [each.rows[0].values[0].string_value for each in answer.outcomes] == [
        f"{each} 姓名" for each in node.grants[0]["items"][0]["subjects"]["ids"]
    ]
    assert answer.decisions() == "AAA"


def test_another_scheme_is_refused_for_its_own_subjects_only(world: World) -> None:
    world.agree(**ANYONE)
    asked = request([RESIDENT, resident(1)], case="1")
    asked.subjects.append(Subject(scheme="cn.passport", id="E00000001"))
    answer = told(world, asked)
    assert answer.decisions() == "AAD" and answer.reasons(2) == ["SCHEME_NOT_ALLOWED"]


@pytest.mark.parametrize(
    ("changes", "by", "reason"),
    [
        ({"contract": "contracts/none"}, SYSTEM, Reason.NO_CONTRACT),
        ({}, OUTSIDER, Reason.NO_CONTRACT),
        ({}, OTHER_SYSTEM, Reason.SYSTEM_NOT_LISTED),
        ({"purpose": "好奇"}, SYSTEM, Reason.PURPOSE_NOT_ALLOWED),
        ({"fields": ["姓名", "secret"]}, SYSTEM, Reason.FIELDS_OUTSIDE_CONTRACT),
        ({"case": ""}, SYSTEM, Reason.EVIDENCE_MISSING),
    ],
    ids=["no contract", "of others", "not listed", "purpose", "fields", "no case"],
)
def test_what_is_wrong_with_all_of_it_refuses_all_of_it_with_one_record(
    world: World, changes: dict[str, object], by: object, reason: Reason
) -> None:
    world.agree(**ANYONE)
    with pytest.raises(Denied) as refused:
        batch(world, [resident(0), resident(1)], by=by, **{"case": "1", **changes})  # type: ignore[arg-type]
    assert refused.value.reasons == (reason,)
    index, record = record_of(world)
    assert (record.decision, record.reasons, record.subject_count) == ("DENY", (reason.name,), 2)
    assert refused.value.exchange == record.exchange and record.grpc_code == "PERMISSION_DENIED"
    assert len(tokens_of(world, index)) == 2, "who was asked about finds the attempt"
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)


def test_a_contract_without_the_mode_refuses_batches(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK")
    with pytest.raises(Denied) as refused:
        batch(world, [RESIDENT], case="1")
    assert refused.value.reasons == (Reason.MODE_NOT_ALLOWED,)


def test_an_officer_may_not_ask_and_that_is_recorded(world: World) -> None:
    world.agree(**ANYONE)
    with pytest.raises(PermissionDenied):
        batch(world, [RESIDENT], by=CONSUMER, case="1")
    assert record_of(world)[1].reasons == ("ROLE_NOT_ALLOWED",)


@pytest.mark.parametrize("name", ["case", "emergency"])
def test_a_case_number_that_is_a_subjects_identifier_is_not_kept(world: World, name: str) -> None:
    world.agree(**ANYONE)
    size, told = world.size(), {name: f"办件 {resident(7)}/1"}
    with pytest.raises(InvalidArgument) as refused:
        batch(world, [RESIDENT, resident(7)], **told)  # type: ignore[arg-type]  # both are text
    assert refused.value.violations[0].field.startswith("context.")
    assert world.size() == size and resident(7) not in str(refused.value)


def test_a_contract_name_that_is_a_subjects_identifier_is_not_kept(world: World) -> None:
    with pytest.raises(Denied):
        batch(world, [RESIDENT, "a-long-name"], contract="contracts/a-long-name")
    assert record_of(world)[1].contract == ""


def test_an_emergency_is_one_for_the_whole_batch(world: World) -> None:
    glass = {"allowed": True, "systems": [SYSTEM.resource], "review_within_hours": 24}
    world.agree(modes=MODES, break_glass=glass)
    answer = batch(world, [RESIDENT, resident(1)], emergency="洪水搜救")
    assert answer.decisions() == "AA"
    index, record = record_of(world)
    assert record.emergency == "洪水搜救" and all(not line.consent for line in lines_of(world, index))
    with world.gateway.ledger.read() as connection:
        assert connection.execute(sa.select(emergency_uses.c.exchange)).scalars().all() == [record.exchange]
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)


def test_a_rule_of_the_deployment_counts_for_each_subject(world: World, tmp_path: Path) -> None:
    rule = '@id("no-city") @reason("CONSENT_FIELDS") forbid (principal, action, resource) when '
    rule += '{ context has consent && context.consent.fields.contains("city") };'
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "own.cedar").write_text(rule)
    contract = world.agree(modes=MODES)
    world.consent(contract, resident=resident(0), modes=("BATCH",), fields=("姓名", "income", "city"))
    world.consent(contract, resident=resident(1), modes=("BATCH",), fields=("姓名", "income"))
    world.restart_gateway(policy=PolicySection(additions=tmp_path / "rules"))
    assert batch(world, [resident(0), resident(1)]).decisions() == "DA"


def test_more_than_ten_thousand_or_nobody_is_refused_before_it_begins(world: World) -> None:
    world.agree(**ANYONE)
    for people in ([], ["1"] * 10_001):
        with pytest.raises(IsthmusError) as refused:
            batch(world, people, case="1")
        assert refused.value.reason is Reason.INVALID_ARGUMENT
