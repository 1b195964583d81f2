"""What streams need of the exchange tests' world: a contract that allows them, the calls, and their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import sqlalchemy as sa

from audit.keys import load_log_key
from audit.ledger.schema import records
from audit.record import AccessRecord, Kind
from audit.verifier.ledger import verify_ledger
from audit.verifier.result import Verified
from isthmus.client import Client
from isthmus.client.values import to_predicate
from isthmus.identity import Identity
from isthmus.pki import file_stem
from isthmus.status import from_rpc_error
from isthmus.v1.contract_service_pb2 import Contract
from isthmus.v1.exchange_service_pb2 import (
    STREAM_ENCODING_ARROW,
    STREAM_ENCODING_ROWS,
    ExchangeContext,
    StreamRequest,
    StreamResponse,
)
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.integration.exchange_parties import CONTRACT, GATEWAY, PURPOSE, SYSTEM
from tests.integration.exchange_world import World

CASE = "案2026-11号"
FIELDS = ("姓名", "income")


def agree(world: World, **changes: Any) -> Contract:
    """A contract in force that allows streams, on the basis of a public task."""
    plain = [{"name": name, "transform": "plain"} for name in ("姓名", "income", "city")]
    return world.agree(
        **{"legal_basis": "PUBLIC_TASK", "modes": ["QUERY", "STREAM"], "fields": plain, **changes}
    )


def request(
    *,
    arrow: bool = False,
    fields: Sequence[str] = FIELDS,
    filters: Sequence[tuple[str, str, Any]] = (),
    token: str = "",
    case: str = CASE,
    emergency: str = "",
) -> StreamRequest:
    return StreamRequest(
        context=ExchangeContext(contract=CONTRACT, purpose=PURPOSE, case_reference=case, emergency=emergency),
        fields=fields,
        filters=[to_predicate(*each) for each in filters],
        encoding=STREAM_ENCODING_ARROW if arrow else STREAM_ENCODING_ROWS,
        resume_token=token,
    )


class Call:
    """A stream under way; iterating it raises the typed error of a refusal."""

    def __init__(
        self, world: World, asked: StreamRequest, *, by: Identity = SYSTEM, timeout: float = 30
    ) -> None:
        self.raw: Any = ExchangeServiceStub(world.channel(by)).Stream(asked, timeout=timeout)

    def __iter__(self) -> Iterator[StreamResponse]:
        return self

    def __next__(self) -> StreamResponse:
        try:
            response: StreamResponse = next(self.raw)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        return response


def numbers(responses: Sequence[StreamResponse]) -> list[int]:
    """The income of every row."""
    return [row.values[1].int64_value for each in responses for row in each.row_set.rows]


def all_records(world: World) -> list[AccessRecord]:
    with world.gateway.ledger.read() as connection:
        leaves = connection.execute(sa.select(records.c.leaf).order_by(records.c.idx)).scalars()
        return [AccessRecord.parse(leaf) for leaf in leaves]


def ends(world: World) -> list[AccessRecord]:
    return [each for each in all_records(world) if each.kind is Kind.STREAM_END]


def verified(world: World) -> Verified:
    """The ledger, verified offline."""
    key = load_log_key(world.folder / "secrets" / "log.key").verifier
    return verify_ledger(str(world.folder / "ledger.db"), key)


def client(world: World, folder: Path, identity: Identity = SYSTEM, **options: Any) -> Client:
    """The SDK's client of the world's gateway."""
    world.credentials(identity)
    pki, stem = world.folder / "pki", file_stem(identity)
    return Client(
        f"127.0.0.1:{world.gateway.port}",
        cert=pki / f"{stem}.pem",
        key=pki / f"{stem}.key",
        ca=pki / "ca.pem",
        server=GATEWAY,
        **options,
    )
