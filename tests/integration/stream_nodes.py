"""A node that streams what a test tells it to: honestly unless the test changes a message, at the pace that it likes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pyarrow as pa

from isthmus.errors import InvalidArgument, Unimplemented
from isthmus.identity import Identity, Role
from isthmus.statement import StatementKind, StatementVerifier, sign
from isthmus.terms import rfc3339
from isthmus.v1.common_pb2 import FIELD_TYPE_INT64, FIELD_TYPE_STRING, Column, Row, RowSet, Value
from isthmus.v1.department_service_pb2 import (
    DescribeRequest,
    DescribeResponse,
    FetchRequest,
    FetchResponse,
    StreamRowsRequest,
    StreamRowsResponse,
)
from isthmus.v1.department_service_pb2_grpc import (
    DepartmentServiceServicer,
)
from tests.integration.exchange_nodes import standing_in
from tests.integration.exchange_parties import DOMAIN, NODE, now
from tests.integration.exchange_world import World

Lie = Callable[[int, StreamRowsResponse, dict[str, Any]], None]
"""Changes the message of a number (0 the first, -1 the last); the receipt's payload is its own only in the last."""

KINDS = {"income": FIELD_TYPE_INT64}


def honest(number: int, message: StreamRowsResponse, receipt: dict[str, Any]) -> None:
    """Changes nothing."""


class ScriptedNode(DepartmentServiceServicer):
    """Streams `chunks` chunks of `size` rows; row n holds its number in every column.

    `gate(n)` is called before chunk n (from 0) leaves; `sent` counts what has.
    """

    def __init__(
        self,
        world: World,
        *,
        chunks: int = 3,
        size: int = 2,
        lie: Lie = honest,
        gate: Callable[[int], object] = lambda n: None,
        filler: int = 0,
        signer: Identity = NODE,
    ) -> None:
        self._world = world
        self._signer = world.credentials(signer)
        anchors = world.credentials(NODE).ca_certificates
        self._verifier = StatementVerifier(anchors, DOMAIN, clock=now)
        self.chunks, self.size, self.filler = chunks, size, "x" * filler
        self.lie, self.gate = lie, gate
        self.grants: list[dict[str, Any]] = []
        self.sent = 0
        self.ended = threading.Event()

    def StreamRows(
        self, request: StreamRowsRequest, context: grpc.ServicerContext
    ) -> Iterator[StreamRowsResponse]:
        """As the protocol has it."""
        grant = self._verifier.verify(
            request.grant, kind=StatementKind.GRANT, expect_role=Role.GATEWAY, max_bytes=4 << 20
        ).payload
        self.grants.append(grant)
        (item,) = grant["items"]
        if item["resume"] and not item["resume"].startswith("after:"):
            raise InvalidArgument("resume", "is no token of this stream")
        first = int(item["resume"].removeprefix("after:") or 0)
        digest, rows = hashlib.sha256(), 0
        try:
            for number, message in enumerate(self._messages(item, first)):
                if number:
                    self.gate(first + number - 1)
                self.lie(number, message, {})
                digest.update(message.chunk)
                rows += message.row_count
                yield message
                self.sent += 1
            yield self._last(grant, item, digest, rows)
        finally:
            self.ended.set()

    def Fetch(self, request: FetchRequest, context: grpc.ServicerContext) -> FetchResponse:
        """Is not asked for here."""
        raise Unimplemented("DepartmentService.Fetch")

    def Describe(self, request: DescribeRequest, context: grpc.ServicerContext) -> DescribeResponse:
        """Offers nothing."""
        return DescribeResponse()

    def _messages(self, item: dict[str, Any], first: int) -> Iterator[StreamRowsResponse]:
        columns = [
            Column(
                name=each["name"],
                type=KINDS.get(each["name"], FIELD_TYPE_STRING),
                transform=each["transform"],
            )
            for each in item["fields"]
        ]
        encode = arrow_chunk if item["encoding"] == "ARROW" else rows_chunk
        head = schema_of(columns).serialize().to_pybytes() if item["encoding"] == "ARROW" else b""
        yield StreamRowsResponse(columns=columns, chunk=head)
        for number in range(first, self.chunks):
            numbers = range(number * self.size, (number + 1) * self.size)
            yield StreamRowsResponse(
                chunk=encode(columns, numbers, self.filler),
                row_count=self.size,
                resume_token=f"after:{number + 1}",
            )

    def _last(
        self, grant: dict[str, Any], item: dict[str, Any], digest: Any, rows: int
    ) -> StreamRowsResponse:
        tail = END if item["encoding"] == "ARROW" else b""
        digest.update(tail)
        receipt = {
            "department": grant["department"],
            "grant": grant["grant"],
            "served_at": rfc3339(now()),
            "outcomes": [{"exchange": item["exchange"], "digest": digest.hexdigest(), "row_count": rows}],
        }
        message = StreamRowsResponse(chunk=tail)
        self.lie(-1, message, receipt)
        if not message.receipt:
            message.receipt = sign(receipt, StatementKind.RECEIPT, self._signer)
        return message

    @contextmanager
    def serving(self) -> Iterator[ScriptedNode]:
        """Serves instead of the real node."""
        with standing_in(self, self._world):
            yield self


END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def schema_of(columns: list[Column]) -> pa.Schema:
    """The schema that stands for columns."""
    return pa.schema(
        [
            pa.field(
                each.name,
                pa.int64() if each.type == FIELD_TYPE_INT64 else pa.string(),
                metadata={
                    "isthmus.type": "INT64" if each.type == FIELD_TYPE_INT64 else "STRING",
                    "isthmus.transform": each.transform,
                },
            )
            for each in columns
        ]
    )


def arrow_chunk(columns: list[Column], numbers: range, filler: str = "") -> bytes:
    """One record batch."""
    schema = schema_of(columns)
    arrays = [
        pa.array(numbers if each.type == pa.int64() else [f"{n}{filler}" for n in numbers], type=each.type)
        for each in schema
    ]
    data: bytes = pa.RecordBatch.from_arrays(arrays, schema=schema).serialize().to_pybytes()
    return data


def rows_chunk(columns: list[Column], numbers: range, filler: str = "") -> bytes:
    """The same rows, typed."""
    rows = [
        Row(
            values=[
                Value(int64_value=n) if each.type == FIELD_TYPE_INT64 else Value(string_value=f"{n}{filler}")
                for each in columns
            ]
        )
        for n in numbers
    ]
    return RowSet(rows=rows).SerializeToString(deterministic=True)
