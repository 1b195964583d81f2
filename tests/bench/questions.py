"""What is asked, as the bytes that go over the wire, and what the bytes that come back hold."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from isthmus.ids import new_exchange, uuid7
from isthmus.pki import Credentials
from isthmus.statement import StatementKind, sign
from isthmus.terms import rfc3339
from isthmus.v1.common_pb2 import Subject
from isthmus.v1.department_service_pb2 import FetchRequest, StreamRowsRequest, StreamRowsResponse
from isthmus.v1.exchange_service_pb2 import (
    STREAM_ENCODING_ARROW,
    BatchQueryRequest,
    BatchQueryResponse,
    ExchangeContext,
    QueryRequest,
    StreamRequest,
    StreamResponse,
)
from tests.bench.town import (
    CASE,
    CONSUMER,
    DATASET,
    FIELDS,
    PROVIDER,
    PURPOSE,
    QUERY_FIELDS,
    SCHEME,
    contract_of,
    resident,
)

QUERY_PATH: Final = "/isthmus.v1.ExchangeService/Query"
FETCH_PATH: Final = "/isthmus.v1.DepartmentService/Fetch"
BATCH_PATH: Final = "/isthmus.v1.ExchangeService/BatchQuery"
STREAM_PATH: Final = "/isthmus.v1.ExchangeService/Stream"
ROWS_PATH: Final = "/isthmus.v1.DepartmentService/StreamRows"

_LIFETIME: Final = timedelta(seconds=30)
_MOST: Final = 50_000
_SEED: Final = 4
"""The same questions in every run."""


def contract_name(contract: str, number: int) -> str:
    """The name of one of several like contracts; number 0 is the contract itself."""
    return f"contracts/{contract}" + (f"-{number}" if number else "")


def _context(contract: str, number: int = 0) -> ExchangeContext:
    name = contract_name(contract, number)
    return ExchangeContext(contract=name, purpose=PURPOSE, case_reference=CASE)


def query_requests(ask: Mapping[str, Any]) -> list[bytes]:
    """Queries about different subjects, in a random order that is the same every time.

    Args:
        ask: `contract`; `subjects`, of how many to choose from; `contracts`, how many like contracts there are,
            see `contract_of`.
    """
    subjects, contracts = ask["subjects"], ask.get("contracts", 1)
    chosen = random.Random(_SEED).sample(range(subjects), min(subjects, _MOST))
    return [
        QueryRequest(
            context=_context(ask["contract"], contract_of(number, contracts)),
            subject=Subject(scheme=SCHEME, id=resident(number)),
            fields=QUERY_FIELDS,
        ).SerializeToString()
        for number in chosen
    ]


def _grant(item: dict[str, Any], credentials: Credentials, now: datetime) -> str:
    payload = {
        "grant": uuid7(now),
        "department": f"departments/{PROVIDER}",
        "issued_at": rfc3339(now),
        "expires_at": rfc3339(now + _LIFETIME),
        "items": [item],
    }
    return sign(payload, StatementKind.GRANT, credentials)


def _item(ask: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What the members of every grant item are, as the gateway makes them."""
    return {
        "exchange": str(new_exchange(now)),
        "consumer": f"departments/{CONSUMER}",
        "system": f"departments/{CONSUMER}/systems/enrolment",
        "contract": ask["version"],
        "terms_digest": ask["terms_digest"],
        "dataset": DATASET,
        "purpose": PURPOSE,
        "fields": ask["fields"],
        "row_filters": [],
        "subjects": [],
        "predicate": None,
    }


def fetch_request(ask: Mapping[str, Any], number: int, credentials: Credentials, now: datetime) -> bytes:
    """A Fetch with one exchange, about resident `number`, under a grant that is signed here."""
    subject = {"scheme": SCHEME, "id": resident(number), "token": f"1.{number:032x}"}
    item = _item(ask, now) | {"mode": "QUERY", "subjects": [subject]}
    return FetchRequest(grant=_grant(item, credentials, now)).SerializeToString()


def stream_request(command: Mapping[str, Any], credentials: Credentials, now: datetime) -> bytes:
    """The request of a server stream; `command["kind"]` says which."""
    return _STREAMS[command["kind"]](command["ask"], credentials, now)


def _through_gateway(ask: Mapping[str, Any], _: Credentials, __: datetime) -> bytes:
    context = _context(ask["contract"])
    request = StreamRequest(context=context, fields=FIELDS, encoding=STREAM_ENCODING_ARROW)
    return request.SerializeToString()


def _straight(ask: Mapping[str, Any], credentials: Credentials, now: datetime) -> bytes:
    item = _item(ask, now) | {"mode": "STREAM", "filters": [], "encoding": "ARROW", "resume": ""}
    return StreamRowsRequest(grant=_grant(item, credentials, now)).SerializeToString()


def _batch(ask: Mapping[str, Any], _: Credentials, __: datetime) -> bytes:
    return BatchQueryRequest(
        context=_context(ask["contract"]),
        subjects=[Subject(scheme=SCHEME, id=resident(number)) for number in range(ask["subjects"])],
        fields=QUERY_FIELDS,
    ).SerializeToString()


_STREAMS: Final[dict[str, Callable[[Mapping[str, Any], Credentials, datetime], bytes]]] = {
    "gateway": _through_gateway,
    "node": _straight,
    "batch": _batch,
}


def rows_in(kind: str, parts: Sequence[bytes]) -> int:
    """How many rows a stream brought, or how many subjects a batch allowed."""
    if kind == "batch":
        outcomes = [each for part in parts for each in BatchQueryResponse.FromString(part).outcomes]
        return sum(bool(each.rows) for each in outcomes)
    if kind == "node":
        return _arrow_rows([StreamRowsResponse.FromString(part).chunk for part in parts])
    return _arrow_rows([StreamResponse.FromString(part).arrow for part in parts])


def _arrow_rows(chunks: Sequence[bytes]) -> int:
    import pyarrow as pa

    with pa.ipc.open_stream(b"".join(chunks)) as reader:
        return sum(batch.num_rows for batch in reader)
