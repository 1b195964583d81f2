"""Whatever ends while a batch is under way ends for exactly those subjects whom it concerns, and their rows are dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from audit.ledger import LedgerUnavailable
from audit.verifier.ledger import verify_ledger
from gateway.batch.consents import Said, given_by
from gateway.config import SubjectsSection
from gateway.denylist import deny_certificate
from gateway.main import Gateway
from isthmus.errors import Cancelled, DeadlineExceeded, Denied, IsthmusError, Reason, Unavailable
from isthmus.status import from_rpc_error
from isthmus.terms import rfc3339, terms_to_document
from isthmus.v1 import catalog_service_pb2_grpc
from isthmus.v1.catalog_service_pb2 import RetireDatasetRequest
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.integration.batch_calls import ANYONE, MODES, BatchNode, Told, batch, record_of, request, resident
from tests.integration.exchange_parties import NODE, OPERATOR, PERSON, PROVIDER, RESIDENT, SYSTEM, now
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def meanwhile(world: World, act: Callable[[], Any], people: list[str], **changes: Any) -> Told:
    """A batch during which something happens after the department was asked and before it has answered."""
    with BatchNode(world, lambda *_: act()).serving():
        return batch(world, people, **changes)


def consents(world: World, count: int, **changes: Any) -> list[Any]:
    contract = world.agree(modes=MODES)
    return [
        world.consent(contract, resident=resident(each), modes=("BATCH",), **changes) for each in range(count)
    ]


def test_a_consent_withdrawn_on_the_way_drops_exactly_that_subject(world: World) -> None:
    given = consents(world, 4)
    withdrawn = []
    answer = meanwhile(
        world, lambda: withdrawn.append(world.withdraw(given[2])), [resident(each) for each in range(4)]
    )
    assert answer.decisions() == "AADA" and answer.reasons(2) == ["CONSENT_WITHDRAWN"]
    assert not answer.outcomes[2].rows and not answer.outcomes[2].subject_known
    assert resident(2) not in "".join(str(message) for message in answer.messages)
    _, record = record_of(world)
    assert record.base is not None and record.base > withdrawn[0].position
    assert record.outcomes == {"ALLOW": 3, "CONSENT_WITHDRAWN": 1} and record.row_count == 3
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)


def test_a_consent_given_on_the_way_comes_too_late_and_no_false_denial_is_recorded(world: World) -> None:
    contract = world.agree(modes=MODES)
    world.consent(contract, resident=resident(0), modes=("BATCH",))

    def consent() -> None:
        world.consent(contract, resident=resident(1), modes=("BATCH",))

    answer = meanwhile(world, consent, [resident(0), resident(1)])
    assert answer.decisions() == "AE" and answer.reasons(1) == ["STATE_CONFLICT"]


def test_a_narrower_consent_given_on_the_way_counts_at_once(world: World) -> None:
    contract = world.agree(modes=MODES)
    for each in range(3):
        world.consent(contract, resident=resident(each), modes=("BATCH",))

    def narrow() -> None:
        world.consent(contract, resident=resident(1), modes=("QUERY",))

    answer = meanwhile(world, narrow, [resident(each) for each in range(3)])
    assert answer.decisions() == "ADA" and answer.reasons(1) == ["CONSENT_MODE"]
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)


@contextmanager
def talking_to(world: World, gateway: Gateway) -> Iterator[None]:
    """Calls inside go to another gateway of the same ledger."""
    own, channels = world.gateway, world._channels
    world.gateway, world._channels = gateway, {}
    try:
        yield
    finally:
        for channel in world._channels.values():
            channel.close()
        world.gateway, world._channels = own, channels


def test_a_narrower_consent_filed_under_a_key_that_this_gateway_has_not_got_counts_at_once(
    world: World,
) -> None:
    """While the subject keys are changed, one gateway after the other."""
    contract = world.agree(modes=MODES)
    for each in range(2):
        world.consent(contract, resident=resident(each), modes=("BATCH",))
    secret = world.folder / "secrets" / "subject-2.key"
    secret.write_text("22" * 32)
    keys = SubjectsSection(keys={**world.config.subjects.keys, "2": secret}, current=2)
    config = replace(world.config, subjects=keys)
    other = Gateway(config, clock=now, registry=CollectorRegistry())
    other.start()

    def narrow() -> None:
        with talking_to(world, other):
            world.consent(contract, resident=resident(1), modes=("QUERY",))

    try:
        assert meanwhile(world, narrow, [resident(0), resident(1)]).decisions() == "AD"
    finally:
        other.stop()


def test_a_consent_that_ends_by_the_clock_on_the_way_drops_its_subject(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = world.agree(modes=MODES)
    world.consent(contract, resident=resident(0), modes=("BATCH",))
    world.consent(contract, resident=resident(1), modes=("BATCH",), not_after=now() + timedelta(seconds=30))

    def later() -> None:
        monkeypatch.setattr(world.gateway.ledger, "_clock", lambda: now() + timedelta(seconds=40))

    answer = meanwhile(world, later, [resident(0), resident(1)], timeout=90)
    assert answer.decisions() == "AD" and answer.reasons(1) == ["CONSENT_EXPIRED"]


def test_consents_are_read_anew_only_where_the_log_tells_of_a_change(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, reads = consents(world, 3), []

    def counted(*args: Any, **changes: Any) -> Said:
        reads.append(args)
        return given_by(*args, **changes)

    monkeypatch.setattr("gateway.batch.state.given_by", counted)
    people = [resident(0), resident(1)]
    assert meanwhile(world, lambda: world.withdraw(given[2]), people).decisions() == "AA"
    assert len(reads) == 1, "somebody else's consent changed"
    assert meanwhile(world, lambda: world.withdraw(given[0]), people).decisions() == "DA"
    assert len(reads) == 3


def test_a_contract_suspended_on_the_way_refuses_all(world: World) -> None:
    contract = world.agree(**ANYONE)
    with pytest.raises(Denied) as refused:
        meanwhile(world, lambda: world.suspend(contract), [RESIDENT, resident(1)], case="1")
    assert refused.value.reasons == (Reason.CONTRACT_SUSPENDED,)
    _, record = record_of(world)
    assert (record.decision, record.row_count) == ("DENY", 0) and "fetched" in record.at


def test_a_caller_denied_on_the_way_gets_nothing(world: World) -> None:
    world.agree(**ANYONE)
    thumbprint = world.credentials(SYSTEM).thumbprint

    def deny() -> None:
        deny_certificate(world.gateway.ledger, thumbprint, "lost", OPERATOR)

    with pytest.raises(Denied) as refused:
        meanwhile(world, deny, [RESIDENT], case="1")
    assert refused.value.reasons == (Reason.CREDENTIAL_DENIED,)


def test_a_node_denied_on_the_way_is_not_believed(world: World) -> None:
    world.agree(**ANYONE)
    thumbprint = world.credentials(NODE).thumbprint

    def deny() -> None:
        deny_certificate(world.gateway.ledger, thumbprint, "stolen", OPERATOR)

    answer = meanwhile(world, deny, [RESIDENT, resident(1)], case="1")
    assert answer.decisions() == "EE" and answer.reasons(0) == ["DEPARTMENT_MISBEHAVED"]
    assert record_of(world)[1].decision == "ERROR"


def test_a_dataset_retired_on_the_way_refuses_all(world: World) -> None:
    world.agree(**ANYONE)
    gone = RetireDatasetRequest(name=PERSON, reason="停用")

    def retire() -> None:
        world.call(catalog_service_pb2_grpc.CatalogServiceStub, PROVIDER, "RetireDataset", gone)

    with pytest.raises(Denied) as refused:
        meanwhile(world, retire, [RESIDENT], case="1")
    assert Reason.DATASET_UNAVAILABLE in refused.value.reasons


def test_rows_granted_under_other_terms_are_not_released_under_new_ones(world: World) -> None:
    contract = world.agree(**ANYONE)
    document = terms_to_document(contract.terms)
    document["fields"] = [{"name": "姓名", "transform": "mask:1"}, {"name": "income", "transform": "hash"}]
    document["not_before"] = rfc3339(now())
    with pytest.raises(Denied) as refused:
        meanwhile(world, lambda: world.renew(contract, document), [RESIDENT], case="1")
    assert refused.value.reasons == (Reason.CONTRACT_ENDED,)


def test_no_answer_without_a_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.agree(**ANYONE)

    def full(*_: Any, **__: Any) -> Any:
        raise LedgerUnavailable("no space left on device")

    with pytest.raises(Unavailable) as refused:
        meanwhile(
            world, lambda: monkeypatch.setattr(world.gateway.ledger, "transact", full), [RESIDENT], case="1"
        )
    assert refused.value.reason is Reason.LEDGER_UNAVAILABLE
    monkeypatch.undo()
    assert world.decisions() == []
    assert world.registry.get_sample_value("isthmus_exchanges_unrecorded_total") == 1


def test_a_fault_nobody_foresaw_ends_the_batch_with_a_record_and_says_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.agree(**ANYONE)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(RESIDENT)

    monkeypatch.setattr("gateway.batch.release.content_of", broken)
    with pytest.raises(IsthmusError) as refused:
        batch(world, [RESIDENT], case="1")
    assert refused.value.reason is Reason.INTERNAL and RESIDENT not in str(refused.value)
    record = world.sole_decision()
    assert (record.decision, record.reasons, record.exchange) == (
        "ERROR",
        ("INTERNAL",),
        refused.value.exchange,
    )


def test_who_gives_up_on_the_way_leaves_one_record_and_takes_nothing(world: World) -> None:
    world.agree(**ANYONE)
    arrived, opened = threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        arrived.set()
        assert opened.wait(60)

    with BatchNode(world, hold).serving(), ThreadPoolExecutor() as pool:
        asked = request([RESIDENT], case="1")
        call = ExchangeServiceStub(world.channel(SYSTEM)).BatchQuery(asked, timeout=30)
        ended = pool.submit(list, call)
        assert arrived.wait(20)
        call.cancel()  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError) as refused:
            ended.result(20)
        assert isinstance(from_rpc_error(refused.value), Cancelled)
        # The call to the department is cancelled too: nobody waits for it to end.
        patience = time.monotonic() + 10
        try:
            while not world.decisions():
                assert not opened.wait(0.01) and time.monotonic() < patience
        finally:
            opened.set()
    record = world.sole_decision()
    assert (record.decision, record.reasons, record.row_count) == ("ERROR", ("CANCELLED",), 0)


def test_a_deadline_that_ends_on_the_way_ends_the_batch(world: World) -> None:
    world.agree(**ANYONE)
    opened = threading.Event()

    def hold(*_: object) -> None:
        opened.wait(20)

    with BatchNode(world, hold).serving():
        with pytest.raises(DeadlineExceeded):
            batch(world, [RESIDENT], case="1", timeout=0.5)
        while not world.decisions():
            assert not opened.wait(0.01)
        opened.set()
    assert world.sole_decision().reasons == ("DEADLINE_EXCEEDED",)
