"""What tests of contracts read as the consumer's officer, in one line each."""

from __future__ import annotations

from isthmus.v1 import contract_service_pb2 as pb
from tests.integration.control_world import CONSUMER, World


def events(world: World, name: str = "contracts/edu-person") -> list[pb.ContractEvent]:
    response = world.rpc(CONSUMER, "ListContractEvents", pb.ListContractEventsRequest(name=name))
    return list(response.events)


def get(world: World, name: str = "contracts/edu-person") -> pb.Contract:
    found: pb.Contract = world.rpc(CONSUMER, "GetContract", pb.GetContractRequest(name=name)).contract
    return found
