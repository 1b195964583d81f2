"""What batches ask and are answered in tests, and a node that lies about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import grpc
import sqlalchemy as sa

from audit.batch.lines import Line, read_line, split_lines
from audit.ledger.schema import batch_lines, record_subjects, records
from audit.record import AccessRecord
from isthmus.identity import Identity
from isthmus.reasons import Reason
from isthmus.status import from_rpc_error
from isthmus.v1.common_pb2 import Column, Decision, FieldType, Receipt, Row, Subject, Value
from isthmus.v1.department_service_pb2 import FetchOutcome, FetchResponse, SubjectRows
from isthmus.v1.exchange_service_pb2 import (
    BatchOutcome,
    BatchQueryRequest,
    BatchQueryResponse,
    ExchangeContext,
)
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.integration.exchange_nodes import LyingNode
from tests.integration.exchange_parties import CONTRACT, PURPOSE, SYSTEM
from tests.integration.exchange_world import World

MODES = ["QUERY", "BATCH"]
ANYONE: dict[str, Any] = {"legal_basis": "PUBLIC_TASK", "modes": MODES}
"""Terms under which nobody has to consent."""


def resident(number: int) -> str:
    """One of the people in the registry's database, 0 to 299."""
    return f"1101011990030{number:05d}"


@dataclass(frozen=True)
class Told:
    """What a batch was answered."""

    exchange: str
    columns: list[Column]
    outcomes: list[BatchOutcome]
    receipt: Receipt
    messages: list[BatchQueryResponse]

    def decisions(self) -> str:
        """A letter an outcome: A, D or E."""
        return "".join(Decision.Name(each.decision)[9] for each in self.outcomes)

    def reasons(self, index: int) -> list[str]:
        return [Reason(each).name for each in self.outcomes[index].reasons]


def request(
    residents: Sequence[str],
    *,
    contract: str = CONTRACT,
    purpose: str = PURPOSE,
    case: str = "",
    emergency: str = "",
    scheme: str = "cn.resident-id",
    fields: Sequence[str] = ("姓名", "income"),
) -> BatchQueryRequest:
    return BatchQueryRequest(
        context=ExchangeContext(contract=contract, purpose=purpose, case_reference=case, emergency=emergency),
        subjects=[Subject(scheme=scheme, id=each) for each in residents],
        fields=fields,
    )


def batch(
    world: World, residents: Sequence[str], *, by: Identity = SYSTEM, timeout: float = 30, **changes: Any
) -> Told:
    """A BatchQuery; raises the typed error of a refusal."""
    return told(world, request(residents, **changes), by=by, timeout=timeout)


def told(world: World, asked: BatchQueryRequest, *, by: Identity = SYSTEM, timeout: float = 30) -> Told:
    try:
        messages = list(ExchangeServiceStub(world.channel(by)).BatchQuery(asked, timeout=timeout))
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
    return Told(
        messages[0].exchange,
        list(messages[0].columns),
        [each for message in messages for each in message.outcomes],
        messages[-1].receipt,
        messages,
    )


def record_of(world: World) -> tuple[int, AccessRecord]:
    """The record of the only batch there was, and its position."""
    query = sa.select(records.c.idx, records.c.leaf).where(records.c.mode == "BATCH")
    with world.gateway.ledger.read() as connection:
        ((index, leaf),) = connection.execute(query).all()
    return index, AccessRecord.parse(leaf)


def stored(world: World, index: int) -> tuple[bytes, list[bytes]]:
    """The hashes and the lines of a batch."""
    query = sa.select(batch_lines.c.hashes, batch_lines.c.lines).where(batch_lines.c.idx == index)
    with world.gateway.ledger.read() as connection:
        rows = connection.execute(query.order_by(batch_lines.c.part)).all()
    lines = [line for row in rows for line in split_lines(row.lines)]
    return b"".join(row.hashes for row in rows), lines


def lines_of(world: World, index: int) -> list[Line]:
    return [read_line(each) for each in stored(world, index)[1]]


def tokens_of(world: World, index: int) -> list[str]:
    query = sa.select(record_subjects.c.token).where(record_subjects.c.idx == index)
    with world.gateway.ledger.read() as connection:
        return sorted(connection.execute(query).scalars())


def honest_batch(item: dict[str, Any], rows: Callable[[str], int] = lambda _: 1) -> FetchOutcome:
    """For each subject rows that hold its identifier and the names of the fields."""
    columns = [
        Column(name=each["name"], type=FieldType.FIELD_TYPE_STRING, transform=each["transform"])
        for each in item["fields"]
    ]
    entries, count = [], 0
    for id in item["subjects"]["ids"]:
        row = Row(values=[Value(string_value=f"{id} {each['name']}") for each in item["fields"]])
        number = rows(id)
        entries.append(SubjectRows(subject_known=number > 0, rows=[row] * number).SerializeToString())
        count += number
    return FetchOutcome(subject_known=count > 0, columns=columns, row_count=count, subject_rows=entries)


def batch_line(exchange: str, outcome: FetchOutcome) -> dict[str, Any]:
    """A batch's line in the receipt."""
    digests = b"".join(sha256(each).digest() for each in outcome.subject_rows)
    return {
        "exchange": exchange,
        "digest": sha256(digests).hexdigest(),
        "row_count": outcome.row_count,
        "subject_count": len(outcome.subject_rows),
    }


Lie = Callable[[dict[str, Any], FetchResponse, dict[str, Any]], None]


class BatchNode(LyingNode):
    """A node that answers batches honestly, but for one lie; `rows` says how many rows a subject has."""

    def __init__(
        self,
        world: World,
        lie: Lie = lambda *_: None,
        *,
        rows: Callable[[str], int] = lambda _: 1,
        **options: Any,
    ) -> None:
        def answer(grant: dict[str, Any], response: FetchResponse, receipt: dict[str, Any]) -> None:
            for number, item in enumerate(grant["items"]):
                if item["mode"] == "BATCH":
                    response.outcomes[number].CopyFrom(honest_batch(item, rows))
                    receipt["outcomes"][number] = batch_line(item["exchange"], response.outcomes[number])
            lie(grant, response, receipt)

        super().__init__(world, answer, **options)
