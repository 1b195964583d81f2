"""What tests of consents ask of the consent service, in one line each."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from audit.ledger import Transaction
from audit.record import AccessRecord, Kind
from gateway.clerk.clerk import Clerk
from gateway.consents.clerk import ConsentClerk
from gateway.quotas import NO_USE, consent_limit, read_usage, write_usage
from gateway.state.schema import consent_events
from isthmus.ids import new_exchange
from isthmus.names import ConsentName
from isthmus.v1 import consent_service_pb2 as pb
from isthmus.v1 import contract_service_pb2
from isthmus.v1.common_pb2 import Subject
from tests.integration.control_world import (
    EDUCATION,
    GATEWAY,
    PERSON,
    PORTAL,
    PURPOSE,
    REGISTRY,
    RESIDENT,
    SYSTEM,
    World,
)

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


def ask(world: World, contract: contract_service_pb2.Contract, **changes: Any) -> pb.Consent:
    """A question to the person; `changes` replace members of the request."""
    members = {"name": str(ConsentName.new()), "contract": contract.name, "subject": PERSON_ID}
    asked: pb.Consent = world.rpc(
        PORTAL, "RequestConsent", pb.RequestConsentRequest(**{**members, **changes})
    ).consent
    return asked


def uses(world: World, name: str, **paging: Any) -> pb.ListConsentUsesResponse:
    found: pb.ListConsentUsesResponse = world.rpc(
        PORTAL, "ListConsentUses", pb.ListConsentUsesRequest(name=name, **paging)
    )
    return found


def use(world: World, consent: pb.Consent, *, token: str = "", purpose: str = PURPOSE) -> str:
    """One exchange that rests on the consent, as a release leaves it behind: its record and its counter."""
    exchange = str(new_exchange(world.now))
    limit = consent_limit(contract=consent.contract, consent=consent.name, max_uses=consent.max_uses)

    def release(tx: Transaction) -> None:
        tx.append(
            AccessRecord(
                exchange=exchange,
                kind=Kind.DECISION,
                at={"in": world.now, "released": world.now},
                caller=SYSTEM.uri,
                consumer=f"departments/{EDUCATION}",
                provider=f"departments/{REGISTRY}",
                dataset=PERSON,
                contract=consent.contract,
                terms_digest=consent.terms_digest,
                purpose=purpose,
                legal_basis="CONSENT",
                subject_token=token or consent.subject_token,
                mode="QUERY",
                decision="ALLOW",
                fields=({"name": "姓名", "transform": "mask:1"},),
                row_count=1,
                consents=({"name": consent.name, "position": consent.position},),
                grpc_code="OK",
            )
        )
        if limit is not None:
            before = read_usage(tx.connection, [limit.counter])
            after = {limit.counter: before.get(limit.counter, NO_USE).plus(1)}
            write_usage(tx.connection, before, after)

    world.ledger.transact(release)
    return exchange


def clerk(world: World) -> Clerk:
    """The gateway's clerk, with the job that looks after consents."""
    return Clerk(
        world.control,
        identity=GATEWAY,
        thumbprint=world.credentials(GATEWAY).thumbprint,
        jobs=[ConsentClerk()],
        interval=60.0,
        registry=CollectorRegistry(),
    )


def events(world: World, name: str) -> list[tuple[str, str, str, str]]:
    """What happened to a consent, in order: event, state before, state after, and who or what did it."""
    table = consent_events.c
    query = sa.select(table.type, table.from_state, table.to_state, table.actor)
    with world.ledger.read() as conn:
        return [tuple(row) for row in conn.execute(query.where(table.consent == name).order_by(table.seq))]
