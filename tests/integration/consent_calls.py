"""What tests of consents ask of the consent service, in one line each."""

from __future__ import annotations

from typing import Any

from isthmus.v1 import consent_service_pb2 as pb
from isthmus.v1 import contract_service_pb2
from isthmus.v1.common_pb2 import Subject
from tests.integration.control_world import PORTAL, RESIDENT, World

PERSON_ID = Subject(scheme="cn.resident-id", id=RESIDENT)


def grant(world: World, contract: contract_service_pb2.Contract, **changes: Any) -> pb.Consent:
    granted: pb.Consent = world.rpc(PORTAL, "GrantConsent", world.consent(contract, **changes)).consent
    return granted


def withdraw(world: World, name: str, by: Any = PORTAL) -> pb.WithdrawConsentResponse:
    request = pb.WithdrawConsentRequest(name=name, reason="不再需要")
    response: pb.WithdrawConsentResponse = world.rpc(by, "WithdrawConsent", request)
    return response


def get(world: World, name: str, by: Any = PORTAL) -> pb.Consent:
    found: pb.Consent = world.rpc(by, "GetConsent", pb.GetConsentRequest(name=name)).consent
    return found


def move(world: World, method: str, name: str, by: Any = PORTAL) -> pb.Consent:
    request = getattr(pb, f"{method}Request")(name=name, reason="本人要求")
    moved: pb.Consent = world.rpc(by, method, request).consent
    return moved
