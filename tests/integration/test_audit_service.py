"""The audit service over real connections: who sees what, what is recorded about those who look, what is proven."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import verify_consistency
from audit.tlog.proof import verify_proof
from audit.verifier.ledger import verify_ledger
from isthmus.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
)
from isthmus.identity import Identity
from tests.integration.audit_calls import PERSON, filled_world, leaves
from tests.integration.audit_world import (
    AUDIT,
    AUDITOR,
    EDUCATION,
    GATEWAY,
    NODE,
    OPERATOR,
    OTHER_RESIDENT,
    PORTAL,
    SCHEME,
    SYSTEM,
    AuditWorld,
    audit_world_in,
)
from tests.unit.audit.ledger_world import KEY, append, control, decision, signatures

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AuditWorld]:
    with filled_world(tmp_path) as one:
        yield one


@pytest.mark.parametrize("who", [OPERATOR, SYSTEM, NODE, GATEWAY, AUDIT, PORTAL])
@pytest.mark.parametrize(
    "call",
    [
        lambda audit: list(audit.records("decision = ")),
        lambda audit: audit.record("nonsense"),
        lambda audit: list(audit.export(reason="x")),
    ],
)
def test_nobody_else_may_look_or_learns_what_a_good_request_is(
    world: AuditWorld, who: Identity, call: Callable[[Any], object]
) -> None:
    with pytest.raises(PermissionDenied) as caught:
        call(world.audit(who))
    assert caught.value.reason is Reason.ROLE_NOT_ALLOWED
    assert len(leaves(world)) == 5


@pytest.mark.parametrize("who", [OPERATOR, SYSTEM, NODE, GATEWAY, PORTAL])
def test_everybody_may_check_that_the_log_only_grows(world: AuditWorld, who: Identity) -> None:
    audit = world.audit(who)
    assert audit.checkpoint().checkpoint
    assert audit.consistency(1).hashes


def test_a_department_s_system_can_prove_what_it_took_part_in_and_nothing_else(world: AuditWorld) -> None:
    audit = world.audit(SYSTEM)
    assert audit.proof("records/0").index == 0
    with pytest.raises(NotFound):
        audit.proof("records/4")


@pytest.mark.parametrize("who", [OPERATOR, GATEWAY, AUDIT, PORTAL])
def test_nobody_else_may_ask_for_proofs(world: AuditWorld, who: Identity) -> None:
    with pytest.raises(PermissionDenied):
        world.audit(who).proof("records/0")


@pytest.mark.parametrize("who", [OPERATOR, SYSTEM, NODE, GATEWAY, AUDIT])
def test_only_those_who_may_report_do(world: AuditWorld, who: Identity) -> None:
    with pytest.raises(PermissionDenied):
        list(world.audit(who).accesses(PERSON, reason="x"))


def test_a_person_learns_who_looked_in_plain_words_oldest_first(world: AuditWorld) -> None:
    list(world.audit(AUDITOR).records(subject=PERSON, reason="x"))
    accesses = list(world.audit(PORTAL).accesses(PERSON, reason="本人查询"))
    assert [each.record.index for each in accesses] == [0, 1, 4, 5]
    words = [each.summary.partition(": ")[2] for each in accesses]
    assert words[0] == (
        "the system enrolment of departments/education was given full_name and birth_date (only the year) from "
        "departments/civil-registry/datasets/person (1 row). Purpose (用途): 义务教育入学资格核验. Legal basis (法律依据): a "
        "public task (法定职责). Case (办件): 案件-2026-001. Contract (共享协议): contracts/edu-person-2026@2."
    )
    assert "was refused because the consent had been withdrawn (同意已撤回)" in words[1]
    assert "failed for a technical reason; nothing was released" in words[2]
    assert words[3] == "the auditor wang searched the audit trail for records about you."
    again = list(world.audit(PORTAL).accesses(PERSON, reason="本人查询"))
    assert again[-1].summary.endswith("the portal citizen asked for the report of who looked at your data.")


def test_a_verification_is_told_as_one(world: AuditWorld) -> None:
    (access,) = world.audit(PORTAL).accesses((SCHEME, OTHER_RESIDENT), reason="x")
    assert "asked a yes-or-no question of" in access.summary


def test_a_report_ends_although_each_of_its_pages_is_one_more_look(world: AuditWorld) -> None:
    pages = list(islice(world.audit(PORTAL).accesses(PERSON, reason="x", page_size=1), 50))
    assert [each.record.index for each in pages] == [0, 1, 4]
    assert len(leaves(world)) == 8


def test_a_report_needs_a_reason(world: AuditWorld) -> None:
    with pytest.raises(InvalidArgument, match="reason"):
        list(world.audit(PORTAL).accesses(PERSON, reason=""))


def test_a_proof_holds_without_trusting_the_service(world: AuditWorld) -> None:
    told = world.audit(AUDITOR).checkpoint()
    key = VerifierKey.parse(told.verifier_key)
    assert key == KEY.verifier
    for index, record in enumerate(leaves(world)):
        found = world.audit(AUDITOR).proof(f"records/{index}")
        signed = verify_proof(found.proof.encode(), world.audit(AUDITOR).record(record.exchange).leaf, key)
        assert (found.index, signed.checkpoint.size) == (index, 5)


def test_a_checkpoint_extends_an_older_one_provably(world: AuditWorld) -> None:
    old = open_checkpoint(world.audit(AUDITOR).checkpoint().checkpoint.encode(), KEY.verifier).checkpoint
    append(world.server.ledger, *(decision() for _ in range(20)))
    append(world.server.ledger, *(decision() for _ in range(300)))
    for new_size in (0, 25):
        found = world.audit(EDUCATION).consistency(old.size, new_size)
        new = open_checkpoint(found.checkpoint.encode(), KEY.verifier).checkpoint
        assert new.size == (new_size or 325)
        verify_consistency(old.size, new.size, old_root=old.root, new_root=new.root, proof=list(found.hashes))


@pytest.mark.parametrize(("old", "new"), [(0, 0), (6, 0), (1, 3), (1, 99), (5, 2**60)])
def test_a_consistency_proof_that_cannot_be_is_refused(world: AuditWorld, old: int, new: int) -> None:
    with pytest.raises(InvalidArgument, match="size"):
        world.audit(AUDITOR).consistency(old, new)


@pytest.mark.parametrize(
    "name", ["x", "records/", "records/x", "records/-1", "records/١", "records/" + "9" * 30, "exchanges/1"]
)
def test_a_name_of_another_form_is_refused(world: AuditWorld, name: str) -> None:
    with pytest.raises(InvalidArgument, match="form"):
        world.audit(AUDITOR).record(name)


def test_a_denied_certificate_sees_nothing_any_more(world: AuditWorld) -> None:
    list(world.audit(AUDITOR).records())
    thumbprint = leaves(world)[-1].certificate
    append(world.server.ledger, control("DenyCertificate", f"certificates/{thumbprint}"))
    audit = world.audit(AUDITOR)
    calls: list[Callable[[], object]] = [
        lambda: list(audit.records()),
        lambda: audit.record("records/0"),
        lambda: audit.proof("records/0"),
        audit.checkpoint,
        lambda: audit.consistency(1),
        lambda: list(audit.accesses(PERSON, reason="x")),
    ]
    for call in calls:
        with pytest.raises(PermissionDenied) as caught:
            call()
        assert caught.value.reason is Reason.CREDENTIAL_DENIED


def test_the_log_of_all_this_is_sound(tmp_path: Path) -> None:
    with audit_world_in(tmp_path) as world:
        append(world.ledger, *signatures(), decision())
        list(world.audit(AUDITOR).records(subject=PERSON, reason="抽查"))
        list(world.audit(PORTAL).accesses(PERSON, reason="本人查询"))
        assert verify_ledger(world.url, KEY.verifier).size == 5
        assert world.registry.get_sample_value("isthmus_ledger_records") == 5
