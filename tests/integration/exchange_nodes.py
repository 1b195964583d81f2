"""Nodes that misbehave: one that holds its answers back, and one that lies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from isthmus.canonical import canonical_json, sha256_hex
from isthmus.identity import Identity, Role
from isthmus.rpc import RunningServer, Service, build_server
from isthmus.statement import StatementKind, StatementVerifier, sign
from isthmus.terms import (
    rfc3339,
)
from isthmus.v1.common_pb2 import Column, FieldType, Row, RowSet, Value
from isthmus.v1.department_service_pb2 import (
    DescribeRequest,
    DescribeResponse,
    FetchOutcome,
    FetchRequest,
    FetchResponse,
    StreamRowsRequest,
    StreamRowsResponse,
)
from isthmus.v1.department_service_pb2_grpc import (
    DepartmentServiceServicer,
    add_DepartmentServiceServicer_to_server,
)
from isthmus.v1.exchange_service_pb2 import (
    VERDICT_YES,
)
from isthmus.v1.reason_pb2 import REASON_PROVIDER_VETO
from services.node import Node
from tests.integration.exchange_parties import DOMAIN, NODE, now
from tests.integration.exchange_world import World


class Gate:
    """Holds the database of a real node until it is opened."""

    def __init__(self, node: Node) -> None:
        self.arrived, self.opened = threading.Event(), threading.Event()
        fetch = node.source.fetch

        def held(*arguments: Any) -> Any:
            self.arrived.set()
            assert self.opened.wait(30)
            return fetch(*arguments)

        node.source.fetch = held  # type: ignore[assignment,method-assign]


Lie = Callable[[dict[str, Any], FetchResponse, dict[str, Any]], None]
"""Changes an honest answer: gets the grant's payload, the response and the payload of its receipt."""


class LyingNode(DepartmentServiceServicer):
    """A node with real credentials that answers honestly, but for one lie."""

    def __init__(self, world: World, lie: Lie, *, signer: Identity = NODE) -> None:
        self._world = world
        self._lie = lie
        self._signer = world.credentials(signer)
        anchors = world.credentials(NODE).ca_certificates
        self._verifier = StatementVerifier(anchors, DOMAIN, clock=now)
        self.grants: list[dict[str, Any]] = []

    def Fetch(self, request: FetchRequest, context: grpc.ServicerContext) -> FetchResponse:
        grant = self._verifier.verify(
            request.grant, kind=StatementKind.GRANT, expect_role=Role.GATEWAY, max_bytes=4 << 20
        ).payload
        self.grants.append(grant)
        response = FetchResponse(outcomes=[honest(item) for item in grant["items"]])
        receipt = {
            "department": grant["department"],
            "grant": grant["grant"],
            "served_at": rfc3339(now()),
            "outcomes": [
                line(item["exchange"], outcome)
                for item, outcome in zip(grant["items"], response.outcomes, strict=True)
            ],
        }
        self._lie(grant, response, receipt)
        if not response.receipt:
            response.receipt = sign(receipt, StatementKind.RECEIPT, self._signer)
        return response

    def Describe(self, request: DescribeRequest, context: grpc.ServicerContext) -> DescribeResponse:
        return DescribeResponse()

    def StreamRows(
        self, request: StreamRowsRequest, context: grpc.ServicerContext
    ) -> Iterator[StreamRowsResponse]:
        return iter(())

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serves instead of the real node."""
        with standing_in(self, self._world):
            yield


@contextmanager
def standing_in(node: DepartmentServiceServicer, world: World) -> Iterator[None]:
    """Serves a scripted node instead of the real one."""
    server: RunningServer = build_server(
        services=[Service(node, add_DepartmentServiceServicer_to_server)],
        credentials=world.credentials(NODE),
        trust_domain=DOMAIN,
        clock=now,
        registry=CollectorRegistry(),
        address="127.0.0.1:0",
        authorise=lambda *_: None,
    )
    server.start()
    try:
        world.use_node(server.port)
        yield
    finally:
        server.stop(0)


def honest(item: dict[str, Any]) -> FetchOutcome:
    """One row that holds the names of the fields."""
    if item["mode"] == "VERIFY":
        return FetchOutcome(subject_known=True, verdict=VERDICT_YES)
    columns = [
        Column(name=each["name"], type=FieldType.FIELD_TYPE_STRING, transform=each["transform"])
        for each in item["fields"]
    ]
    row = Row(values=[Value(string_value=each["name"]) for each in item["fields"]])
    row_set = RowSet(columns=columns, rows=[row])
    return FetchOutcome(subject_known=True, columns=columns, row_set=row_set.SerializeToString(), row_count=1)


def line(exchange: str, outcome: FetchOutcome) -> dict[str, Any]:
    """An outcome's line in the receipt."""
    content = outcome.row_set or canonical_json({"verdict": "YES"})
    return {
        "exchange": exchange,
        "digest": sha256_hex(content),
        "row_count": outcome.row_count,
        "subject_known": outcome.subject_known,
    }


def other_exchange(_: dict[str, Any], __: FetchResponse, receipt: dict[str, Any]) -> None:
    receipt["outcomes"][0]["exchange"] = "exchanges/00000000-0000-7000-8000-000000000000"


def other_grant(_: dict[str, Any], __: FetchResponse, receipt: dict[str, Any]) -> None:
    receipt["grant"] = "00000000-0000-7000-8000-000000000000"


def two_outcomes(_: dict[str, Any], response: FetchResponse, receipt: dict[str, Any]) -> None:
    response.outcomes.append(response.outcomes[0])
    receipt["outcomes"].append(receipt["outcomes"][0])


def no_outcome(_: dict[str, Any], response: FetchResponse, receipt: dict[str, Any]) -> None:
    del response.outcomes[:]
    receipt["outcomes"].clear()


def forged_receipt(_: dict[str, Any], response: FetchResponse, __: dict[str, Any]) -> None:
    response.receipt = "a.b.c"


def refused_with_data(_: dict[str, Any], response: FetchResponse, receipt: dict[str, Any]) -> None:
    response.outcomes[0].refused = REASON_PROVIDER_VETO
    receipt["outcomes"][0] = {"exchange": receipt["outcomes"][0]["exchange"], "refused": "PROVIDER_VETO"}


def secret_refusal(_: dict[str, Any], response: FetchResponse, __: dict[str, Any]) -> None:
    """Refused, but the receipt says it was served."""
    response.outcomes[0].CopyFrom(FetchOutcome(refused=REASON_PROVIDER_VETO))
