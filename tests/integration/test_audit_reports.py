"""Reports on contracts, departments and anomalies over real connections: what they say, and who may read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from audit.batch.lines import BatchLines
from audit.record import AccessRecord, Kind
from audit.reports.department import LINES
from audit.verifier.ledger import verify_ledger
from isthmus.errors import InvalidArgument, NotFound, PermissionDenied, Reason, Unavailable
from isthmus.identity import Identity
from isthmus.rpc.paging import next_page_token
from isthmus.v1 import audit_service_pb2 as pb
from tests.integration.audit_calls import TAXED, filled_world, leaves, stub
from tests.integration.audit_world import (
    AUDIT,
    AUDITOR,
    EDUCATION,
    GATEWAY,
    NODE,
    OPERATOR,
    PORTAL,
    REGISTRY,
    RESIDENT,
    SYSTEM,
    TAX,
    AuditWorld,
    audit_world_in,
    token,
)
from tests.unit.audit.ledger_world import KEY, append, control, decision, denial, failure, signatures

pytestmark = pytest.mark.integration

CONTRACT = "contracts/edu-person-2026"
CALLS: list[Callable[[Any], object]] = [
    lambda audit: list(audit.contract_report(CONTRACT, reason="核查")),
    lambda audit: audit.department_use("departments/education", reason="核查"),
    lambda audit: audit.anomalies(reason="核查"),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AuditWorld]:
    with filled_world(tmp_path) as one:
        yield one


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("who", [OPERATOR, SYSTEM, NODE, GATEWAY, AUDIT, PORTAL])
def test_nobody_else_may_report(world: AuditWorld, who: Identity, call: Callable[[Any], object]) -> None:
    with pytest.raises(PermissionDenied) as caught:
        call(world.audit(who))
    assert caught.value.reason is Reason.ROLE_NOT_ALLOWED
    assert len(leaves(world)) == 5


def test_anomalies_are_for_auditors(world: AuditWorld) -> None:
    with pytest.raises(PermissionDenied):
        world.audit(EDUCATION).anomalies(reason="x")


@pytest.mark.parametrize(
    ("call", "action", "resource"),
    [
        (CALLS[0], "ReportContract", CONTRACT),
        (CALLS[1], "ReportDepartmentUse", "departments/education"),
        (CALLS[2], "ReportAnomalies", ""),
    ],
)
def test_a_report_is_a_record_and_its_reason_a_commitment(
    world: AuditWorld, call: Callable[[Any], object], action: str, resource: str
) -> None:
    call(world.audit(AUDITOR))
    last = leaves(world)[-1]
    assert (last.kind, last.action, last.resource, last.caller) == (
        Kind.LOOKUP,
        action,
        resource,
        AUDITOR.uri,
    )
    assert set(last.change) == {"reason_commitment"}


@pytest.mark.parametrize("call", CALLS)
def test_what_cannot_be_recorded_is_not_shown(
    world: AuditWorld, call: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Unavailable(Reason.LEDGER_UNAVAILABLE, "the disk is full")

    monkeypatch.setattr(type(world.server.ledger), "transact", refuse)
    with pytest.raises(Unavailable):
        call(world.audit(AUDITOR).__class__(world.client(AUDITOR).with_deadline(2).audit._transport))


def deeds(world: AuditWorld, who: Identity, name: str = CONTRACT, **options: Any) -> list[pb.Deed]:
    pages = world.audit(who).contract_report(name, reason="核查", **options)
    return [deed for page in pages for deed in page.deeds]


def under(**changes: Any) -> dict[str, Any]:
    """What the records about the contract share."""
    one = decision()
    return {"consumer": one.consumer, "provider": one.provider, "contract": one.contract, **changes}


def test_a_contract_s_report_tells_all_that_was_done_in_order_and_counts_it(world: AuditWorld) -> None:
    batch = {"mode": "BATCH", "subject_token": "", "subject_count": 4, "outcomes": {"ALLOW": 4}}
    append(
        world.ledger,
        control("ProposeContract", f"{CONTRACT}@2", **under()),
        *signatures(),
        control("SignContract", f"{CONTRACT}@2", reasons=("NOT_A_PARTY",)),
        denial("QUOTA_EXHAUSTED"),
        decision(emergency="心脏骤停"),
        decision(**batch),
        control("SuspendContract", f"{CONTRACT}@2", **under()),
        decision(contract=f"{CONTRACT}@3"),
        decision(contract=f"{CONTRACT}-other@1"),
        control("SignContract", f"{CONTRACT}-other@1", reasons=("NOT_A_PARTY",)),
    )
    (page,) = world.audit(AUDITOR).contract_report(CONTRACT, reason="核查")
    assert [each.record.index for each in page.deeds] == [0, *range(5, 14)]
    told = [each.summary.partition(": ")[2] for each in page.deeds]
    assert "was given" in told[0] and "proposed it (提出共享申请)" in told[1]
    assert "called SignContract and was refused because it is no party" in told[4]
    assert told[6].startswith("EMERGENCY ACCESS (紧急调用)") and "batch of 4 persons" in told[7]
    counts = {(*each.values,): each.count for each in page.counts}
    purpose = decision().purpose
    assert counts == {("ALLOW", purpose, "2026-11"): 4, ("DENY", purpose, "2026-11"): 1}


def test_one_version_can_be_asked_for(world: AuditWorld) -> None:
    append(
        world.ledger,
        decision(contract=f"{CONTRACT}@3"),
        control("SignContract", f"{CONTRACT}@3", reasons=("NOT_A_PARTY",)),
    )
    assert [each.record.index for each in deeds(world, AUDITOR, f"{CONTRACT}@3")] == [5, 6]
    assert [each.record.index for each in deeds(world, AUDITOR, f"{CONTRACT}@2")] == [0]


def test_a_contract_s_report_is_paged_and_ends_where_the_log_ended_when_it_began(world: AuditWorld) -> None:
    append(world.ledger, *(decision() for _ in range(6)))
    pages = []
    for page in world.audit(AUDITOR).contract_report(CONTRACT, reason="x", page_size=2):
        pages.append(page)
        append(world.server.ledger, decision())
    assert [[each.record.index for each in page.deeds] for page in pages] == [[0, 5], [6, 7], [8, 9], [10]]
    assert [bool(page.counts) for page in pages] == [True, False, False, False]


@pytest.mark.parametrize("cursor", [(1,), (1, 2, 3), (1, "2"), (-1, 5)])
def test_a_page_token_that_was_never_given_is_refused(
    world: AuditWorld, cursor: tuple[int | str, ...]
) -> None:
    request = pb.ReportContractRequest(contract=CONTRACT, reason="x")
    request.page_token = next_page_token(request, cursor)
    with pytest.raises(grpc.RpcError) as caught:
        stub(world, AUDITOR).ReportContract(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("who", [TAX, REGISTRY])
def test_a_contract_of_others_is_as_if_it_were_not_there_and_the_question_is_recorded(
    world: AuditWorld, who: Identity
) -> None:
    append(world.ledger, control("SignContract", "contracts/tax-visit@1", reasons=("NOT_A_PARTY",)))
    name = CONTRACT if who is TAX else "contracts/tax-visit"
    for each in (name, "contracts/there-is-none"):
        with pytest.raises(NotFound) as caught:
            deeds(world, who, each)
        assert caught.value.message == f"{each} does not exist, or you may not see it"
        assert (leaves(world)[-1].resource, leaves(world)[-1].row_count) == (each, 0)
    assert deeds(world, AUDITOR, name)


def test_an_officer_reads_what_the_own_department_did_and_not_what_persons_consented_to(
    world: AuditWorld,
) -> None:
    append(
        world.ledger,
        control(
            "GrantConsent",
            "consents/00000000-0000-4000-8000-000000000001",
            subject_token=token(RESIDENT),
            **under(),
        ),
        decision(consumer="departments/tax"),
    )
    assert [each.record.index for each in deeds(world, EDUCATION)] == [0]
    assert [each.record.index for each in deeds(world, REGISTRY)] == [0, 6]
    assert [each.record.index for each in deeds(world, AUDITOR)] == [0, 5, 6]


@pytest.mark.parametrize(
    "name", ["", "contracts/", "departments/education", "contracts/x@y", "contracts/x@0"]
)
def test_a_name_that_is_no_contract_s_is_refused(world: AuditWorld, name: str) -> None:
    with pytest.raises(InvalidArgument, match="contract"):
        deeds(world, AUDITOR, name)


def use(world: AuditWorld, who: Identity, **options: Any) -> list[pb.DepartmentUse]:
    return list(world.audit(who).department_use("departments/education", reason="核查", **options).uses)


def test_a_department_s_use_is_added_up(world: AuditWorld) -> None:
    desk = "spiffe://data.example/department/education/system/desk"
    lines = BatchLines.of([b"{}", b"{}"], [token(RESIDENT), "2.00000000000000000000000000000009"])
    batch = decision(
        mode="BATCH",
        subject_token="",
        subject_count=2,
        outcomes={"ALLOW": 2},
        subjects_root=lines.root,
        row_count=7,
    )
    opening = decision(mode="STREAM", subject_token="", row_count=0, purpose="统计")
    end = replace(opening, kind=Kind.STREAM_END, decision="", action="COMPLETE", row_count=500)
    append(
        world.ledger,
        decision(subject_token=token(RESIDENT), caller=desk, row_count=3),
        denial("QUOTA_EXHAUSTED", subject_token=token(RESIDENT)),
        failure(subject_token=token(RESIDENT)),
        opening,
        end,
    )
    world.ledger.transact(lambda tx: tx.append(batch, batch=lines))
    first, second = use(world, EDUCATION)
    assert (first.provider, first.dataset, first.contract) == (
        "departments/civil-registry",
        "departments/civil-registry/datasets/person",
        CONTRACT,
    )
    assert (first.allowed, first.denied, first.failed, first.row_count) == (3, 1, 1, 1 + 3 + 7)
    # One resident by the tokens of two epochs, and another one.
    assert first.subject_count == 3
    assert list(first.systems) == [
        "departments/education/systems/desk",
        "departments/education/systems/enrolment",
    ]
    assert first.first_time.ToDatetime() < first.last_time.ToDatetime()
    assert (second.purpose, second.allowed, second.row_count, second.subject_count) == ("统计", 1, 500, 0)


def test_a_department_s_use_of_a_period(world: AuditWorld) -> None:
    def logged(record: AccessRecord) -> datetime:
        return record.at["logged"]

    at = logged(leaves(world)[0])
    append(world.ledger, decision(), decision(purpose="统计"))
    later = logged(leaves(world)[-1])
    assert len(use(world, AUDITOR)) == 2
    assert [each.allowed for each in use(world, AUDITOR, until=later)] == [1]
    assert [each.allowed for each in use(world, AUDITOR, since=later)] == [1, 1]
    assert use(world, AUDITOR, since=later + timedelta(milliseconds=1)) == []
    with pytest.raises(InvalidArgument, match="until"):
        use(world, AUDITOR, since=later, until=at)


def test_an_officer_reports_the_own_department_only(world: AuditWorld) -> None:
    with pytest.raises(PermissionDenied) as caught:
        use(world, TAX)
    assert caught.value.reason is Reason.NOT_A_PARTY and "departments/tax" in caught.value.message
    assert len(leaves(world)) == 5


def test_more_lines_than_fit_are_told_and_the_most_used_come_first(tmp_path: Path) -> None:
    with audit_world_in(tmp_path) as world:
        append(
            world.ledger,
            *(decision(purpose=f"用途{each}") for each in range(LINES + 5)),
            decision(purpose="用途777"),
        )
        found = world.audit(AUDITOR).department_use("departments/education", reason="x")
    assert (len(found.uses), found.truncated, found.uses[0].purpose) == (LINES, True, "用途777")


def test_anomalies_come_with_a_filter_that_lists_what_is_behind_them(world: AuditWorld) -> None:
    append(world.ledger, *(denial("QUOTA_EXHAUSTED", **TAXED) for _ in range(30)))
    since = datetime(2026, 11, 1, tzinfo=UTC)
    found = world.audit(AUDITOR).anomalies(reason="周检", since=since, kinds=["denial-burst"])
    (burst,) = found.anomalies
    assert burst.kind == pb.ANOMALY_KIND_DENIAL_BURST
    listed = list(world.audit(AUDITOR).records(burst.filter))
    assert len(listed) == burst.record_count
    assert all(each.decision and "QUOTA" in str(each.leaf) or each.index == 1 for each in listed)
    counted = world.audit(AUDITOR).count(burst.filter)
    assert counted.total == burst.record_count
    assert burst.start_time.ToDatetime() < burst.end_time.ToDatetime()


def test_what_could_not_be_judged_is_noted(world: AuditWorld) -> None:
    append(world.ledger, *(decision() for _ in range(150)))
    since = datetime(2026, 11, 1, tzinfo=UTC)
    found = world.audit(AUDITOR).anomalies(reason="周检", since=since, kinds=["volume"])
    assert not found.anomalies and CONTRACT in found.notes[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kinds": ["nonsense"]},
        {"since": datetime(2020, 1, 1, tzinfo=UTC)},
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is what is wrong
        {"since": datetime(2026, 11, 2, tzinfo=UTC), "until": datetime(2026, 11, 1, tzinfo=UTC)},
        {"reason": ""},
    ],
)
def test_a_period_or_kind_that_cannot_be_is_refused(world: AuditWorld, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        world.audit(AUDITOR).anomalies(**{"reason": "x", **wrong})


def test_the_log_of_all_these_reports_is_sound(tmp_path: Path) -> None:
    with audit_world_in(tmp_path) as world:
        append(world.ledger, *signatures(), decision())
        for call in CALLS:
            call(world.audit(AUDITOR))
        assert verify_ledger(world.url, KEY.verifier).size == 6
