"""What does not count as a department's signature under a contract, and what two signatures at once do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.denylist import denied, deny_certificate
from isthmus.errors import (
    InvalidArgument,
    IsthmusError,
    PermissionDenied,
    Reason,
    StateConflict,
    StatementInvalid,
    TermsInvalid,
)
from isthmus.identity import Role
from isthmus.statement import StatementKind, sign
from isthmus.terms import rfc3339, terms_to_document
from isthmus.v1 import catalog_service_pb2, common_pb2
from isthmus.v1 import contract_service_pb2 as pb
from tests.integration.control_world import (
    CONSUMER,
    EDUCATION,
    OPERATOR,
    OUTSIDER,
    PERSON,
    PROVIDER,
    REGISTRY,
    SYSTEM,
    World,
    party,
    world_in,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.publish()
        yield world


def submit(world: World, caller: Any, contract: pb.Contract, statement: str) -> pb.Contract:
    request = pb.SignContractRequest(name=contract.name, statement=statement)
    signed: pb.Contract = world.rpc(caller, "SignContract", request).contract
    return signed


def assert_refused(world: World, caller: Any, contract: pb.Contract, statement: str, *, because: str) -> None:
    """Refused as an invalid statement, recorded, and without any effect."""
    before = len(world.records())
    with pytest.raises(InvalidArgument, match=because) as refusal:
        submit(world, caller, contract, statement)
    assert refusal.value.reason is Reason.STATEMENT_INVALID
    records = world.records()
    assert len(records) == before + 1
    assert (records[-1].reasons, records[-1].resource) == (("STATEMENT_INVALID",), contract.name)
    assert records[-1].exchange == refusal.value.exchange
    current = world.rpc(CONSUMER, "GetContract", pb.GetContractRequest(name=contract.name)).contract
    assert current == contract


def test_a_forged_signature(world: World) -> None:
    contract = world.propose()
    head, body, signature = world.signature(CONSUMER, contract).split(".")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    assert_refused(world, CONSUMER, contract, f"{head}.{body}.{flipped}", because="signature is not by")


def test_terms_changed_after_signing(world: World) -> None:
    contract = world.propose()
    head, _, signature = world.signature(CONSUMER, contract).split(".")
    other = world.signature(CONSUMER, contract, department="departments/tax").split(".")[1]
    assert_refused(world, CONSUMER, contract, f"{head}.{other}.{signature}", because="signature is not by")


def test_the_other_departments_signature_passed_off_as_ones_own(world: World) -> None:
    contract = world.propose()
    theirs = world.signature(PROVIDER, contract)
    assert_refused(world, CONSUMER, contract, theirs, because="nobody signs for another")


def test_a_colleagues_signature_submitted_by_somebody_else(world: World) -> None:
    contract = world.propose()
    colleague = party(Role.OFFICER, EDUCATION, "two")
    assert_refused(
        world, CONSUMER, contract, world.signature(colleague, contract), because="nobody signs for another"
    )


def test_a_signature_for_another_department(world: World) -> None:
    contract = world.propose()
    statement = world.signature(CONSUMER, contract, department=f"departments/{REGISTRY}")
    assert_refused(world, CONSUMER, contract, statement, because="another department")


def test_a_signature_by_a_system_instead_of_an_officer(world: World) -> None:
    contract = world.propose()
    assert_refused(
        world, CONSUMER, contract, world.signature(SYSTEM, contract), because="officer is required"
    )


def test_a_signature_over_other_terms(world: World) -> None:
    contract = world.propose()
    wider = terms_to_document(contract.terms)
    wider["retention_days"] = 3650
    statement = world.signature(CONSUMER, contract, terms=wider)
    assert_refused(world, CONSUMER, contract, statement, because="other terms")


def test_a_signature_replayed_on_another_version(world: World) -> None:
    first = world.propose()
    old = world.signature(CONSUMER, first)
    submit(world, CONSUMER, first, old)
    request = pb.CounterContractRequest(name=first.name, terms=world.terms(retention_days=7), reason="x")
    second = world.rpc(PROVIDER, "CounterContract", request).contract
    assert_refused(world, CONSUMER, second, old, because="another contract or version")


def test_a_signature_replayed_on_another_contract(world: World) -> None:
    one, two = world.propose("one"), world.propose("two")
    assert_refused(
        world, CONSUMER, two, world.signature(CONSUMER, one), because="another contract or version"
    )


def test_a_statement_of_another_kind(world: World) -> None:
    contract = world.propose()
    payload = {"contract": contract.name}
    statement = sign(payload, StatementKind.CONTROL, world.credentials(CONSUMER))
    assert_refused(world, CONSUMER, contract, statement, because="not isthmus-contract")


@pytest.mark.parametrize(
    ("member", "value", "because"),
    [
        ("extra", "x", "exactly the members"),
        ("signed_at", "yesterday", "RFC 3339"),
        ("signed_at", 5, "RFC 3339"),
        ("signed_at", "2020-01-01T00:00:00Z", "between the proposal and now"),
        ("signed_at", "2999-01-01T00:00:00Z", "between the proposal and now"),
        ("terms", "x", "other terms"),
    ],
)
def test_a_payload_that_says_something_else(world: World, member: str, value: Any, because: str) -> None:
    contract = world.propose()
    statement = world.signature(CONSUMER, contract, **{member: value})
    assert_refused(world, CONSUMER, contract, statement, because=because)


def test_garbage(world: World) -> None:
    contract = world.propose()
    assert_refused(world, CONSUMER, contract, "not.a.jws", because="is refused")


def test_the_same_statement_again_changes_nothing(world: World) -> None:
    contract = world.propose()
    statement = world.signature(CONSUMER, contract)
    first = submit(world, CONSUMER, contract, statement)
    records = len(world.records())
    assert submit(world, CONSUMER, contract, statement) == first
    assert len(world.records()) == records


def test_a_department_signs_once(world: World) -> None:
    contract = world.propose()
    world.sign(CONSUMER, contract)
    with pytest.raises(StateConflict, match="signs once"):
        world.sign(CONSUMER, contract)
    with pytest.raises(StateConflict, match="signs once"):
        world.sign(party(Role.OFFICER, EDUCATION, "two"), contract)


def test_one_department_alone_never_makes_a_contract(world: World) -> None:
    contract = world.propose()
    for officer in (CONSUMER, party(Role.OFFICER, EDUCATION, "two"), OUTSIDER):
        try:
            world.sign(officer, contract)
        except IsthmusError:
            pass
    current = world.rpc(CONSUMER, "GetContract", pb.GetContractRequest(name=contract.name)).contract
    assert current.state == pb.ContractState.CONTRACT_STATE_PROPOSED and len(current.signatures) == 1


def test_both_departments_signing_at_once_agree_once(world: World) -> None:
    for round_ in range(5):
        contract = world.propose(f"round-{round_}")
        # Connections first, so that the two calls really meet.
        for officer in (CONSUMER, PROVIDER):
            world.rpc(officer, "GetContract", pb.GetContractRequest(name=contract.name))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(world.sign, (CONSUMER, PROVIDER), (contract, contract)))
        request = pb.ListContractEventsRequest(name=contract.contract)
        types = [each.type for each in world.rpc(CONSUMER, "ListContractEvents", request).events]
        assert types == ["PROPOSED", "SIGNED", "SIGNED", "AGREED", "ACTIVATED"]


def test_a_catalogue_that_closed_meanwhile_stops_the_signature(world: World) -> None:
    contract = world.propose()
    world.sign(CONSUMER, contract)
    world.publish(
        sharing_class=common_pb2.SharingClass.SHARING_CLASS_REFUSED,
        legal_citation="《档案法》第二十七条",
        conditions=[],
        purposes=[],
    )
    with pytest.raises(TermsInvalid, match="《档案法》第二十七条"):
        world.sign(PROVIDER, contract)


def test_a_proposal_whose_period_is_over_is_not_signed(world: World) -> None:
    contract = world.propose(not_after=rfc3339(world.now + timedelta(days=1)))
    world.now += timedelta(days=1)
    with pytest.raises(TermsInvalid, match="is over already"):
        world.sign(CONSUMER, contract)


def test_a_denied_certificate_signs_and_calls_no_more(world: World) -> None:
    contract = world.propose()
    stolen = world.signature(CONSUMER, contract)
    thumbprint = world.credentials(CONSUMER).thumbprint
    position = deny_certificate(world.ledger, thumbprint, "key lost", OPERATOR)
    assert deny_certificate(world.ledger, thumbprint, "again", OPERATOR) == position
    with world.ledger.read() as conn:
        assert denied(conn, ("00" * 32, thumbprint)) == {thumbprint}
    request = pb.GetContractRequest(name=contract.name)
    retire = catalog_service_pb2.RetireDatasetRequest(name=PERSON, reason="x")
    for method, message in (("GetContract", request), ("RetireDataset", retire)):
        with pytest.raises(PermissionDenied) as refusal:
            world.rpc(CONSUMER, method, message)
        assert refusal.value.reason is Reason.CREDENTIAL_DENIED
    # With a new certificate the officer may call again, but the statement signed with the old key stays refused.
    world.renew(CONSUMER)
    with pytest.raises(PermissionDenied) as refusal:
        submit(world, CONSUMER, contract, stolen)
    assert refusal.value.reason is Reason.CREDENTIAL_DENIED
    assert world.records()[-1].reasons == ("CREDENTIAL_DENIED",)
    assert len(world.sign(CONSUMER, contract).signatures) == 1


@pytest.mark.parametrize("thumbprint", ["", "ab", "AB" * 32, "zz" * 32])
def test_a_denial_names_a_thumbprint_and_a_reason(world: World, thumbprint: str) -> None:
    with pytest.raises(InvalidArgument):
        deny_certificate(world.ledger, thumbprint, "key lost", OPERATOR)
    with pytest.raises(InvalidArgument):
        deny_certificate(world.ledger, "ab" * 32, " ", OPERATOR)


def test_statement_invalid_is_the_type_the_caller_gets(world: World) -> None:
    contract = world.propose()
    with pytest.raises(StatementInvalid):
        submit(world, CONSUMER, contract, "not.a.jws")
