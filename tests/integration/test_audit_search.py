"""Searching the trail over real connections: what a filter finds, what an officer sees, and what a search leaves."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa

from audit.ledger.schema import details
from isthmus.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Reason,
    Unavailable,
)
from isthmus.rpc.paging import next_page_token
from isthmus.status import from_rpc_error
from isthmus.v1 import audit_service_pb2 as pb
from isthmus.v1 import common_pb2
from tests.integration.audit_calls import PERSON, TAXED, at_rest, filled_world, indexes, leaves, stub
from tests.integration.audit_world import (
    AUDITOR,
    EDUCATION,
    PORTAL,
    REGISTRY,
    RESIDENT,
    SCHEME,
    TAX,
    AuditWorld,
    token,
)
from tests.unit.audit.ledger_world import append, control, decision

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AuditWorld]:
    with filled_world(tmp_path) as one:
        yield one


def test_an_auditor_sees_everything_newest_first(world: AuditWorld) -> None:
    found = list(world.audit(AUDITOR).records())
    assert indexes(found) == [4, 3, 2, 1, 0]
    first = found[-1]
    assert first.leaf == leaves(world)[0].leaf()
    assert (first.consumer, first.purpose) == ("departments/education", "义务教育入学资格核验")
    assert (first.legal_basis, first.mode) == (common_pb2.LEGAL_BASIS_PUBLIC_TASK, common_pb2.MODE_QUERY)
    assert [(each.name, each.transform) for each in first.fields][1] == ("birth_date", "bucket:year")


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ('consumer = "departments/education"', [0]),
        ("provider = departments/civil-registry", [3, 2, 1, 0]),
        ("dataset = departments/health/datasets/visit", [4]),
        ("contract = contracts/tax-person", [3, 2, 1]),
        ("contract = contracts/tax-person@1 AND kind = DECISION", [2, 1]),
        ("contract = contracts/tax-person@2", []),
        ("decision = DENY OR decision = ERROR", [4, 1]),
        ("reason : QUOTA_EXHAUSTED", [1]),
        ("reason != QUOTA_EXHAUSTED AND kind = DECISION", [4, 2, 0]),
        ("mode = VERIFY", [2]),
        ("kind = CONTROL", [3]),
        ("action = SuspendContract", [3]),
        ('resource = "contracts/tax-person@1"', [3]),
        ("resource : tax", [3]),
        ('purpose = "义务教育入学资格核验"', [4, 2, 1, 0]),
        ("purpose : 入学 AND NOT consumer = departments/tax", [0]),
        ("case_reference : 2026-001 AND index <= 1", [1, 0]),
        ("legal_basis = CONSENT", []),
        ("caller : enrolment AND mode = VERIFY", [2]),
        ("index > 0 AND index < 4 AND -kind = CONTROL", [2, 1]),
        ('time >= "2026-01-01T00:00:00Z" AND time < "2027-01-01T00:00:00+08:00"', [4, 3, 2, 1, 0]),
        ('time < "2026-01-01T00:00:00Z"', []),
        ("purpose : '%'", []),
        ("purpose = \"x' OR '1'='1\"", []),
    ],
)
def test_a_filter_finds_exactly_what_it_says(world: AuditWorld, filter_: str, expected: list[int]) -> None:
    assert indexes(world.audit(AUDITOR).records(filter_)) == expected


def test_an_exchange_is_found_by_its_name(world: AuditWorld) -> None:
    for index in (1, 3):
        name = leaves(world)[index].exchange
        assert indexes(world.audit(AUDITOR).records(f"exchange = {name}")) == [index]
        assert world.audit(AUDITOR).record(name).index == index
        assert world.audit(AUDITOR).record(f"records/{index}").exchange == name


def test_a_bad_filter_is_refused_with_its_place(world: AuditWorld) -> None:
    with pytest.raises(InvalidArgument, match="at character 12"):
        list(world.audit(AUDITOR).records("decision = MAYBE"))


def test_an_officer_sees_the_records_of_its_own_department_only(world: AuditWorld) -> None:
    assert indexes(world.audit(EDUCATION).records()) == [0]
    assert indexes(world.audit(REGISTRY).records()) == [3, 2, 1, 0]
    assert indexes(world.audit(TAX).records()) == [4, 3, 2, 1]


@pytest.mark.parametrize(
    "filter_",
    [
        "index >= 0",
        "index = 4 OR index = 0",
        'consumer = "departments/tax" OR provider = "departments/health" OR index >= 0',
        "NOT consumer = departments/education",
        "kind = LOOKUP OR kind = CONTROL OR kind = DECISION",
    ],
)
def test_no_filter_widens_what_an_officer_sees(world: AuditWorld, filter_: str) -> None:
    list(world.audit(AUDITOR).records())
    assert {each.index for each in world.audit(EDUCATION).records(filter_)} <= {0}


def test_what_an_officer_may_not_see_does_not_exist_for_it(world: AuditWorld) -> None:
    hidden, missing = leaves(world)[4].exchange, "exchanges/01a209c9-b5bc-764f-96c7-f488ff7ebc42"
    officer = world.audit(EDUCATION)
    for call in (officer.record, officer.proof):
        for name in (hidden, missing, "records/4", "records/99"):
            with pytest.raises(NotFound) as caught:
                call(name)
            assert caught.value.message == f"{name} does not exist, or you may not see it"
    assert officer.record("records/0").index == 0


def test_a_department_cannot_tell_by_its_own_exchanges_whose_consent_a_record_is_about(
    world: AuditWorld,
) -> None:
    """Two officers, an exchange with a person's token, and the person's consents under the same contract."""
    person = token(RESIDENT)
    consent = "consents/01a209c9-b5bc-464f-96c7-f488ff7ebc42"
    about = {**TAXED, "subject_token": person}
    given, ended = append(
        world.ledger,
        control("GrantConsent", consent, **about),
        control(
            "WithdrawConsent", consent, **about, exchange="exchanges/01a209c9-b5bc-764f-96c7-f488ff7ebc42"
        ),
    )
    filters = [
        "",
        f"subject_token = {person}",
        f"subject_token != {person}",
        f"resource = {consent}",
        "action = WithdrawConsent",
        "kind = CONTROL",
        f"index = {ended}",
        "exchange = exchanges/01a209c9-b5bc-764f-96c7-f488ff7ebc42",
    ]
    for officer in map(world.audit, (TAX, REGISTRY)):
        assert 1 in indexes(officer.records(f"subject_token = {person}"))
        assert indexes(officer.records("kind = CONTROL")) == [3]
        for filter_ in filters:
            assert not {given, ended} & set(indexes(officer.records(filter_)))
        assert not {given, ended} & set(indexes(officer.records(subject=PERSON, reason="投诉")))
        for call in (officer.record, officer.proof):
            for name in (f"records/{ended}", leaves(world)[ended].exchange):
                with pytest.raises(NotFound):
                    call(name)
    for filter_ in filters[1:2] + filters[3:6]:
        assert {given, ended} & set(indexes(world.audit(AUDITOR).records(filter_)))


def test_a_search_is_itself_a_record_that_only_auditors_see(world: AuditWorld) -> None:
    list(world.audit(EDUCATION).records("decision = ALLOW", reason="核对本部门调用"))
    record = leaves(world)[-1]
    assert (record.kind, record.action, record.row_count) == ("LOOKUP", "ListRecords", 1)
    assert record.caller == "spiffe://data.example/department/education/officer/li"
    assert len(record.certificate) == 64
    assert [each.index for each in world.audit(AUDITOR).records("kind = LOOKUP")] == [5]
    assert indexes(world.audit(EDUCATION).records("kind = LOOKUP")) == []


def test_the_reason_of_a_search_is_committed_to_and_can_be_erased(world: AuditWorld) -> None:
    list(world.audit(AUDITOR).records("decision = DENY", reason="张三投诉"))
    with world.ledger.read() as connection:
        kept = json.loads(connection.scalar(sa.select(details.c.json).where(details.c.idx == 5)) or b"")
    assert (kept["reason"], kept["filter"]) == ("张三投诉", "decision = DENY")
    change = leaves(world)[5].change
    for name in ("reason", "filter"):
        opened = hashlib.sha256(bytes.fromhex(kept[f"{name}_nonce"]) + kept[name].encode()).hexdigest()
        assert change[f"{name}_commitment"] == opened
    assert "张三" not in at_rest(world)


def test_a_search_that_cannot_be_recorded_shows_nothing(world: AuditWorld) -> None:
    holder = sqlite3.connect(world.folder / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    hurried = world.client(AUDITOR).with_deadline(1).audit
    with pytest.raises((Unavailable, DeadlineExceeded)):  # Either deadline may end first.
        list(hurried.records())
    holder.execute("ROLLBACK")
    holder.close()
    assert len(list(world.audit(AUDITOR).records())) >= 5


def test_a_person_is_found_under_every_key_and_spelling(world: AuditWorld) -> None:
    for spelling in (RESIDENT, f" {RESIDENT.lower()} "):
        found = world.audit(AUDITOR).records(subject=(SCHEME, spelling), reason="依申请查询")
        assert indexes(found) == [4, 1, 0]
    assert leaves(world)[-1].subject_token == token(RESIDENT)


def test_a_search_for_a_person_needs_a_reason(world: AuditWorld) -> None:
    for reason in ("", "  "):
        with pytest.raises(InvalidArgument, match="reason"):
            list(world.audit(AUDITOR).records(subject=PERSON, reason=reason))
    assert len(leaves(world)) == 5


def test_a_scheme_that_is_not_configured_is_refused_instead_of_finding_nothing(world: AuditWorld) -> None:
    with pytest.raises(InvalidArgument, match=f"subject.scheme.*{SCHEME}"):
        list(world.audit(AUDITOR).records(subject=("us.ope", "00247700"), reason="x"))


def test_no_identifier_is_at_rest_after_searches(world: AuditWorld) -> None:
    list(world.audit(AUDITOR).records(subject=PERSON, reason="x"))
    list(world.audit(PORTAL).accesses(PERSON, reason="x"))
    assert RESIDENT not in at_rest(world)
    assert token(RESIDENT) in at_rest(world)


def test_a_search_for_a_person_shows_an_officer_only_its_own_part(world: AuditWorld) -> None:
    assert indexes(world.audit(EDUCATION).records(subject=PERSON, reason="x")) == [0]
    assert [each.record.index for each in world.audit(TAX).accesses(PERSON, reason="x")] == [1, 4]


def test_pages_do_not_shift_while_the_log_grows(world: AuditWorld) -> None:
    request = pb.ListRecordsRequest(page_size=2)
    pages: list[list[int]] = []
    while True:
        response = stub(world, AUDITOR).ListRecords(request, timeout=20)
        pages.append([each.index for each in response.records])
        append(world.server.ledger, decision())
        request.page_token = response.next_page_token
        if not response.next_page_token:
            break
    assert pages == [[4, 3], [2, 1], [0]]


@pytest.mark.parametrize("change", ["filter", "token", "type"])
def test_a_page_token_fits_its_own_query_only(world: AuditWorld, change: str) -> None:
    request = pb.ListRecordsRequest(page_size=2)
    request.page_token = stub(world, AUDITOR).ListRecords(request, timeout=20).next_page_token
    if change == "filter":
        request.filter = "decision = DENY"
    elif change == "token":
        request.page_token = request.page_token[:-2] + "AA"
    else:
        report = pb.ReportSubjectAccessRequest(
            subject=common_pb2.Subject(scheme=SCHEME, id=RESIDENT), reason="x", page_token=request.page_token
        )
        with pytest.raises(grpc.RpcError) as caught:
            stub(world, PORTAL).ReportSubjectAccess(report, timeout=20)
        assert from_rpc_error(caught.value).reason is Reason.INVALID_ARGUMENT
        return
    with pytest.raises(grpc.RpcError) as caught:
        stub(world, AUDITOR).ListRecords(request, timeout=20)
    assert from_rpc_error(caught.value).reason is Reason.INVALID_ARGUMENT


@pytest.mark.parametrize("cursor", [("x",), (1, 2), (-1,), ()])
def test_a_page_token_of_another_shape_is_refused(world: AuditWorld, cursor: tuple[str | int, ...]) -> None:
    request = pb.ListRecordsRequest(page_size=2)
    request.page_token = next_page_token(request, cursor)
    with pytest.raises(grpc.RpcError) as caught:
        stub(world, AUDITOR).ListRecords(request, timeout=20)
    assert from_rpc_error(caught.value).reason is Reason.INVALID_ARGUMENT


def test_a_page_of_large_records_stays_below_the_size_of_a_message(world: AuditWorld) -> None:
    append(world.server.ledger, *(control("x", "证" * 20_000) for _ in range(80)))
    assert len(indexes(world.audit(AUDITOR).records(page_size=1000))) == 85
