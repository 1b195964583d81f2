"""What ends while a stream is under way ends the stream: the state is read again before every chunk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.record import AccessRecord
from gateway.denylist import deny_certificate
from isthmus.errors import Denied, IsthmusError, Reason, Unavailable
from isthmus.terms import terms_to_document
from isthmus.v1 import catalog_service_pb2_grpc, contract_service_pb2_grpc
from isthmus.v1.catalog_service_pb2 import RetireDatasetRequest
from isthmus.v1.contract_service_pb2 import Contract, TerminateContractRequest
from tests.integration.exchange_parties import GATEWAY, NODE, OPERATOR, PERSON, PROVIDER, SYSTEM
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_nodes import ScriptedNode
from tests.integration.stream_world import Call, agree, ends, numbers, request, verified

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def stopped_by(
    world: World, act: Callable[[], Any], *, arrow: bool = False
) -> tuple[IsthmusError, AccessRecord]:
    """Streams three chunks, acts when the first has arrived and before the second leaves the node; nothing but the first
    may have come. Returns the error and the closing record."""
    opened = threading.Event()
    node = ScriptedNode(world, gate=lambda n: n == 0 or opened.wait(20))
    with node.serving():
        call = Call(world, request(arrow=arrow))
        next(call)
        first = next(call)
        act()
        opened.set()
        with pytest.raises(IsthmusError) as error:
            next(call)
        assert arrow or numbers([first]) == [0, 1]
        assert node.ended.wait(10), "the node was told"
    (end,) = ends(world)
    assert end.row_count == 2
    assert error.value.exchange == end.exchange == world.sole_decision().exchange
    verified(world)
    return error.value, end


@pytest.mark.parametrize("arrow", [False, True])
def test_a_suspended_contract_stops_the_stream(world: World, arrow: bool) -> None:
    contract = agree(world)
    error, end = stopped_by(world, lambda: world.suspend(contract), arrow=arrow)
    assert isinstance(error, Denied) and error.reasons == (Reason.CONTRACT_SUSPENDED,)
    assert "2 rows had left" in error.message
    assert (end.action, end.reasons, end.rules) == (
        "STOPPED",
        ("CONTRACT_SUSPENDED",),
        ("contract-suspended",),
    )


def test_a_terminated_contract_stops_the_stream(world: World) -> None:
    contract = agree(world)
    stub = contract_service_pb2_grpc.ContractServiceStub
    ask = TerminateContractRequest(name=contract.name, reason="不再需要")
    error, end = stopped_by(world, lambda: world.call(stub, PROVIDER, "TerminateContract", ask))
    assert error.reasons == (Reason.CONTRACT_ENDED,) and end.action == "STOPPED"


def test_a_new_version_stops_a_stream_under_the_old_one(world: World) -> None:
    contract = agree(world)
    error, end = stopped_by(world, lambda: renew(world, contract))
    assert error.reasons == (Reason.CONTRACT_ENDED,) and end.action == "STOPPED"


def renew(world: World, contract: Contract) -> None:
    world.renew(contract, {**terms_to_document(contract.terms), "retention_days": 7})


def test_a_denied_caller_gets_no_further_chunk(world: World) -> None:
    agree(world)
    thumbprint = world.credentials(SYSTEM).thumbprint
    error, end = stopped_by(
        world, lambda: deny_certificate(world.gateway.ledger, thumbprint, "lost", OPERATOR)
    )
    assert error.reasons == (Reason.CREDENTIAL_DENIED,) and end.action == "STOPPED"


def test_a_denied_node_is_not_believed_any_further(world: World) -> None:
    agree(world)
    thumbprint = world.credentials(NODE).thumbprint
    error, end = stopped_by(
        world, lambda: deny_certificate(world.gateway.ledger, thumbprint, "lost", OPERATOR)
    )
    assert error.reasons == (Reason.DEPARTMENT_MISBEHAVED,) and end.action == "STOPPED"


def test_a_node_denied_before_is_not_even_believed_its_first_byte(world: World) -> None:
    agree(world)
    deny_certificate(world.gateway.ledger, world.credentials(NODE).thumbprint, "lost", OPERATOR)
    with ScriptedNode(world).serving(), pytest.raises(Unavailable) as refused:
        next(Call(world, request()))
    assert refused.value.reason is Reason.DEPARTMENT_MISBEHAVED
    assert world.sole_decision().decision == "ERROR" and not ends(world)


def test_a_denied_gateway_hands_on_nothing_more(world: World) -> None:
    agree(world)
    thumbprint = world.credentials(GATEWAY).thumbprint
    error, end = stopped_by(
        world, lambda: deny_certificate(world.gateway.ledger, thumbprint, "lost", OPERATOR)
    )
    assert error.reasons == (Reason.GATEWAY_DENIED,) and end.action == "FAILED"


def test_a_retired_dataset_stops_the_stream(world: World) -> None:
    agree(world)
    stub = catalog_service_pb2_grpc.CatalogServiceStub
    ask = RetireDatasetRequest(name=PERSON, reason="停用")
    error, end = stopped_by(world, lambda: world.call(stub, PROVIDER, "RetireDataset", ask))
    assert error.reasons == (Reason.DATASET_UNAVAILABLE,) and end.action == "STOPPED"


def test_a_suspension_before_the_opening_leaves_a_denial_and_no_byte(world: World) -> None:
    """Between admission and the first byte: the node has answered, the opening reads the state again."""
    contract = agree(world)

    def suspend(number: int, *_: Any) -> None:
        if number == 0:
            world.suspend(contract)

    with ScriptedNode(world, lie=suspend).serving(), pytest.raises(Denied) as refused:
        next(Call(world, request()))
    assert refused.value.reasons == (Reason.CONTRACT_SUSPENDED,)
    assert world.sole_decision().decision == "DENY" and not ends(world)
