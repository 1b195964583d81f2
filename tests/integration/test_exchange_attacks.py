"""Attacks by those who are let in: probing for free, naming people in free text, and tampering with the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from audit.keys import load_log_key
from audit.ledger.schema import records
from audit.record import AccessRecord, Kind
from audit.verifier.ledger import verify_ledger
from gateway.denylist import deny_certificate
from gateway.exchange.item import Asked, Mode
from gateway.exchange.state import read_world
from gateway.main import Gateway
from gateway.state.schema import contracts
from isthmus.errors import Denied, InvalidArgument, IsthmusError, PermissionDenied, Reason, Unavailable
from isthmus.v1 import contract_service_pb2_grpc
from isthmus.v1.common_pb2 import DECISION_DENY
from isthmus.v1.contract_service_pb2 import GetContractRequest
from tests.integration.exchange_parties import (
    GATEWAY,
    OPERATOR,
    OTHER_PURPOSE,
    OUTSIDER,
    PROVIDER,
    PURPOSE,
    RESIDENT,
    STRANGER,
    SYSTEM,
    VETERANS,
    now,
)
from tests.integration.exchange_world import World, world_in
from tests.integration.test_exchange_fence import while_under_way

pytestmark = pytest.mark.integration

ASKED = Asked(
    caller=SYSTEM.uri,
    certificate="ab" * 32,
    system=SYSTEM.resource,
    consumer=f"departments/{VETERANS}",
    mode=Mode.QUERY,
    contract="contracts/person-2026",
    purpose=PURPOSE,
    case_reference="1",
    fields=("income",),
    scheme="cn.resident-id",
    identifier=RESIDENT,
    predicate=None,
    request=b"",
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def lookups(world: World) -> list[AccessRecord]:
    """The records of explanations, in order."""
    leaves = sa.select(records.c.leaf).where(records.c.kind == Kind.LOOKUP.value)
    with world.gateway.ledger.read() as connection:
        return [
            AccessRecord.parse(leaf) for leaf in connection.execute(leaves.order_by(records.c.idx)).scalars()
        ]


def token(world: World) -> str:
    """The subject's token, as an exchange about the same person is recorded."""
    with pytest.raises(Denied):
        world.query(purpose="marketing")
    return world.decisions()[-1].subject_token


# ---- Explain


def test_persons_cannot_be_probed_for_free(world: World) -> None:
    contract = world.agree()
    size = world.size()
    world.explain(case="办件-1")
    assert world.size() == size + 1
    (record,) = lookups(world)
    assert (record.action, record.change["verdict"]) == ("Explain", "DENY")
    assert (record.reasons, record.rules) == (("CONSENT_MISSING",), ("consent-missing",))
    assert record.caller == SYSTEM.uri and record.certificate == world.credentials(SYSTEM).thumbprint
    assert (record.contract, record.provider, record.dataset) == (
        contract.name,
        contract.terms.provider,
        contract.terms.dataset,
    )
    assert (record.purpose, record.case_reference, record.mode) == (PURPOSE, "办件-1", "QUERY")
    assert record.subject_token == token(world)
    assert record.exchange.startswith("exchanges/") and not record.decision
    assert RESIDENT.encode() not in world.everything_at_rest()


def test_an_outsider_who_probes_is_recorded_too(world: World) -> None:
    world.agree()
    world.explain(by=OUTSIDER, purpose="王小明的病历")
    (record,) = lookups(world)
    assert (record.caller, record.reasons) == (OUTSIDER.uri, ("NO_CONTRACT",))
    assert record.subject_token and not record.purpose and not record.provider


def test_a_denied_certificate_gets_no_explanation(world: World) -> None:
    world.consent(world.agree())
    thumbprint = world.credentials(SYSTEM).thumbprint
    deny_certificate(world.gateway.ledger, thumbprint, "lost", OPERATOR)
    with pytest.raises(PermissionDenied) as refused:
        world.explain()
    assert refused.value.reason is Reason.CREDENTIAL_DENIED
    (record,) = lookups(world)
    assert (record.reasons, record.grpc_code) == (("CREDENTIAL_DENIED",), "PERMISSION_DENIED")
    assert "verdict" not in record.change and record.subject_token
    assert refused.value.exchange == record.exchange


def test_a_consent_that_does_not_allow_it_is_not_named(world: World) -> None:
    consent = world.consent(world.agree())
    assert world.explain().consent == consent.name
    refused = world.explain(fields=("姓名", "income", "city"), purpose="marketing")
    assert (refused.decision, refused.consent) == (DECISION_DENY, "")
    world.withdraw(consent)
    withdrawn = world.explain()
    assert (withdrawn.decision, withdrawn.consent) == (DECISION_DENY, "")


def test_nothing_is_explained_that_cannot_be_recorded(world: World, monkeypatch: Any) -> None:
    world.agree()

    def full(*_: object, **__: object) -> None:
        raise Unavailable(Reason.LEDGER_UNAVAILABLE, "the disk is full")

    monkeypatch.setattr(world.gateway.ledger, "transact", full)
    with pytest.raises(Unavailable):
        world.explain()


# ---- Free text


NAMING = [
    RESIDENT,
    f"办件 {RESIDENT} 号",
    f"办件-{RESIDENT[:6]}-{RESIDENT[6:14]}-{RESIDENT[14:]}",
    f"案{RESIDENT}",
]


@pytest.mark.parametrize("case", NAMING)
def test_a_case_reference_cannot_carry_the_subject_s_identifier_into_the_log(world: World, case: str) -> None:
    world.consent(world.agree())
    size = world.size()
    for ask in (world.query, world.explain):
        with pytest.raises(InvalidArgument) as refused:
            ask(case=case)
        assert refused.value.violations[0].field == "context.case_reference"
        assert RESIDENT not in str(refused.value) and case not in str(refused.value)
    assert world.size() == size


@pytest.mark.parametrize("case", ["x" * 65, "办件\n1", "<b>1</b>", "张三; 李四", "\u202e1", "a\x00"])
def test_a_case_reference_is_a_number_and_no_prose(world: World, case: str) -> None:
    world.agree()
    size = world.size()
    with pytest.raises(InvalidArgument) as refused:
        world.query(case=case)
    assert refused.value.violations[0].field == "context.case_reference"
    assert world.size() == size


@pytest.mark.parametrize(
    "case",
    ["办件-2026-0001", "京民〔2026〕17号", "（2026）京01民初1号", "A/12:3 (b).c_d", "[2026] 5", "件" * 64],
)
def test_the_case_numbers_of_real_offices_are_taken(world: World, case: str) -> None:
    world.agree(legal_basis="PUBLIC_TASK")
    world.query(case=case)
    assert world.sole_decision().case_reference == case


def test_an_emergency_cannot_carry_the_subject_s_identifier_into_the_log(world: World) -> None:
    world.agree()
    with pytest.raises(InvalidArgument) as refused:
        world.query(emergency=f"{RESIDENT} 昏迷")
    assert refused.value.violations[0].field == "context.emergency"


def test_the_name_of_no_contract_cannot_carry_the_subject_s_identifier_into_the_log(world: World) -> None:
    for ask in (world.query, world.explain):
        try:
            ask(contract=f"contracts/x-{STRANGER.lower()}", resident=STRANGER)
        except Denied as refused:
            assert refused.reasons == (Reason.NO_CONTRACT,)
    assert [each.contract for each in (*world.decisions(), *lookups(world))] == ["", ""]
    rest = world.everything_at_rest()
    assert STRANGER.encode() not in rest and STRANGER.lower().encode() not in rest


def test_what_is_no_name_of_a_contract_is_not_recorded(world: World) -> None:
    size = world.size()
    for name in ("王小明", "contracts/王小明", "contracts/x@1", "contracts/x y"):
        with pytest.raises(InvalidArgument):
            world.query(contract=name)
    assert world.size() == size


# ---- Tampering


def tamper(world: World, contract: str) -> None:
    """Puts a purpose into stored terms, as somebody with write access to the database could."""
    widened = sa.func.replace(contracts.c.terms, OTHER_PURPOSE, "marketing")
    change = contracts.update().values(terms=widened).where(contracts.c.contract == contract)
    assert world.gateway.ledger.transact(lambda tx: tx.connection.execute(change).rowcount).value == 1


def test_terms_that_were_widened_in_the_database_allow_nothing(world: World) -> None:
    widened = world.agree(legal_basis="PUBLIC_TASK")
    sound = world.agree("other-2026", legal_basis="PUBLIC_TASK")
    world.query(case="1")
    tamper(world, widened.contract)
    for ask in (world.query, world.explain):
        for purpose in (PURPOSE, "marketing"):
            with pytest.raises(IsthmusError) as refused:
                ask(case="2", purpose=purpose)
            assert refused.value.reason is Reason.INTERNAL and widened.name in refused.value.message
    record = world.decisions()[-1]
    assert (record.decision, record.reasons) == ("ERROR", ("INTERNAL",))
    assert record.contract == widened.contract
    world.query(contract=sound.contract, case="3")
    assert world.decisions()[-1].decision == "ALLOW"
    stub = contract_service_pb2_grpc.ContractServiceStub
    with pytest.raises(IsthmusError, match="not those that were signed"):
        world.call(stub, PROVIDER, "GetContract", GetContractRequest(name=widened.name))


def test_rows_fetched_while_the_terms_were_widened_are_dropped(world: World) -> None:
    contract = world.agree(legal_basis="PUBLIC_TASK")
    error = while_under_way(world, lambda: tamper(world, contract.contract), case="1")
    assert error.reason is Reason.INTERNAL and contract.name in error.message
    assert world.sole_decision().decision == "ERROR"


def test_others_on_the_train_of_a_damaged_contract_arrive(world: World) -> None:
    damaged, sound = (world.agree(name, legal_basis="PUBLIC_TASK") for name in ("person-2026", "other-2026"))
    tamper(world, damaged.contract)
    rules = world.gateway._rules
    asked = [replace(ASKED, contract=each.contract) for each in (damaged, sound)]
    with world.gateway.ledger.read() as connection:
        read = read_world(connection, asked, rules, now=now())
    assert [view.damage is None for view in read.views] == [False, True]
    assert [read.decide(view, rules).allowed for view in read.views] == [False, True]


# ---- A stolen gateway


def test_a_gateway_whose_own_certificate_is_denied_exchanges_nothing(world: World) -> None:
    world.consent(world.agree())
    world.query()
    deny_certificate(world.gateway.ledger, world.credentials(GATEWAY).thumbprint, "stolen", OPERATOR)
    for ask in (world.query, world.verify, world.explain):
        with pytest.raises(Unavailable) as refused:
            ask()
        assert refused.value.reason is Reason.GATEWAY_DENIED
    assert [record.decision for record in world.decisions()] == ["ALLOW", "ERROR", "ERROR"]
    assert world.decisions()[-1].reasons == ("GATEWAY_DENIED",)


def test_a_gateway_denied_on_the_way_drops_the_rows(world: World) -> None:
    world.consent(world.agree())
    thumbprint = world.credentials(GATEWAY).thumbprint
    error = while_under_way(
        world, lambda: deny_certificate(world.gateway.ledger, thumbprint, "stolen", OPERATOR)
    )
    assert error.reason is Reason.GATEWAY_DENIED
    assert world.sole_decision().decision == "ERROR"


def test_a_gateway_that_never_started_lets_go_of_everything(world: World) -> None:
    gateway = Gateway(world.config, clock=now, registry=CollectorRegistry())
    gateway.stop()
    world.agree()


def test_a_log_of_releases_shows_what_they_rest_on(world: World) -> None:
    world.consent(world.agree())
    world.query()
    world.explain()
    size = world.size()
    world.stop_gateway()
    key = load_log_key(world.config.ledger.log_key).verifier
    assert verify_ledger(world.config.ledger.url, key).size == size
