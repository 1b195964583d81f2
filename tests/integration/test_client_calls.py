"""The SDK against a real server: pages, retries, pins, signatures and typed refusals, blocking and with await."""

import asyncio
import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from isthmus.client import AsyncClient, Client, ConsentTerms
from isthmus.consent_statement import ConsentStatement
from isthmus.errors import DeadlineExceeded, Denied, Reason, StatementInvalid, Unavailable
from isthmus.identity import Identity, Role
from isthmus.pki import Authority, create_authority, load_credentials
from isthmus.pki.store import save_authority, save_issued
from isthmus.rpc import RunningServer, Service, build_server
from isthmus.rpc.paging import cursor_of, next_page_token
from isthmus.statement import StatementKind, StatementVerifier
from isthmus.terms import document_to_terms, terms_digest, terms_json
from isthmus.v1 import (
    catalog_service_pb2 as catalog,
)
from isthmus.v1 import (
    catalog_service_pb2_grpc as catalog_grpc,
)
from isthmus.v1 import (
    common_pb2 as common,
)
from isthmus.v1 import (
    consent_service_pb2 as consent,
)
from isthmus.v1 import (
    consent_service_pb2_grpc as consent_grpc,
)
from isthmus.v1 import (
    contract_service_pb2 as contract,
)
from isthmus.v1 import (
    contract_service_pb2_grpc as contract_grpc,
)
from isthmus.v1 import (
    exchange_service_pb2 as exchange,
)
from isthmus.v1 import (
    exchange_service_pb2_grpc as exchange_grpc,
)

pytestmark = pytest.mark.integration

DOMAIN = "data.example"
GATEWAY = Identity(DOMAIN, Role.GATEWAY, None, "main")
SYSTEM = Identity(DOMAIN, Role.SYSTEM, "education", "enrolment")
OFFICER = Identity(DOMAIN, Role.OFFICER, "education", "li-wei")
PORTAL = Identity(DOMAIN, Role.PORTAL, None, "citizen")
DATASET = "departments/civil-registry/datasets/person"
TERMS = {
    "provider": "departments/civil-registry",
    "consumer": "departments/education",
    "systems": ["departments/education/systems/enrolment"],
    "dataset": DATASET,
    "fields": [{"name": "姓名", "transform": "plain"}],
    "purposes": ["入学审核"],
    "legal_basis": "CONSENT",
    "legal_citation": "个人信息保护法第十三条",
    "modes": ["QUERY", "VERIFY"],
    "not_before": "2026-01-01T00:00:00.000Z",
    "not_after": "2030-01-01T00:00:00.000Z",
    "retention_days": 30,
}


class Catalog(catalog_grpc.CatalogServiceServicer):
    """Three datasets, one a page; and away for as many calls as `away` says."""

    def __init__(self) -> None:
        self.away = 0
        self.calls = 0

    def ListDatasets(self, request: Any, context: grpc.ServicerContext) -> catalog.ListDatasetsResponse:
        cursor = cursor_of(request) or (0,)
        number = int(cursor[0])
        token = next_page_token(request, (number + 1,)) if number < 2 else ""
        dataset = catalog.Dataset(name=f"{DATASET}-{number}")
        return catalog.ListDatasetsResponse(datasets=[dataset], next_page_token=token)

    def GetDataset(self, request: Any, context: grpc.ServicerContext) -> catalog.GetDatasetResponse:
        self.calls += 1
        if self.calls <= self.away:
            raise Unavailable(Reason.LEDGER_UNAVAILABLE, "the ledger is away")
        normalisers = ["strip", "upper"]
        return catalog.GetDatasetResponse(
            dataset=catalog.Dataset(name=request.name, subject_normalisers=normalisers)
        )


class Contracts(contract_grpc.ContractServiceServicer):
    """One proposed contract."""

    def __init__(self) -> None:
        terms = document_to_terms(TERMS)
        self.contract = contract.Contract(
            name="contracts/edu@1",
            contract="contracts/edu",
            version=1,
            terms=terms,
            terms_json=terms_json(terms).decode(),
            terms_digest=terms_digest(terms),
            etag='"7"',
        )
        self.signed: list[contract.SignContractRequest] = []
        self.proposed: list[contract.ProposeContractRequest] = []

    def ProposeContract(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.proposed.append(request)
        return contract.ProposeContractResponse(contract=self.contract)

    def GetContract(self, request: Any, context: grpc.ServicerContext) -> contract.GetContractResponse:
        return contract.GetContractResponse(contract=self.contract)

    def SignContract(self, request: Any, context: grpc.ServicerContext) -> contract.SignContractResponse:
        self.signed.append(request)
        return contract.SignContractResponse(contract=self.contract)


class Consents(consent_grpc.ConsentServiceServicer):
    def __init__(self) -> None:
        self.granted: list[consent.GrantConsentRequest] = []

    def GrantConsent(self, request: Any, context: grpc.ServicerContext) -> consent.GrantConsentResponse:
        self.granted.append(request)
        return consent.GrantConsentResponse(consent=consent.Consent(name="consents/1"), receipt="a.b.c")


class Exchange(exchange_grpc.ExchangeServiceServicer):
    """Knows one person; refuses the purpose `闲逛`; is away for the contract `contracts/away`."""

    def __init__(self) -> None:
        self.calls = 0
        self.release = threading.Event()
        self.ended = threading.Event()

    def Query(self, request: Any, context: grpc.ServicerContext) -> exchange.QueryResponse:
        self.calls += 1
        if request.context.contract == "contracts/away":
            raise Unavailable(Reason.DEPARTMENT_UNAVAILABLE, "the node is away", exchange="exchanges/9")
        if request.context.contract == "contracts/slow":
            self.release.wait(10)
        if request.context.purpose == "闲逛":
            reasons = (Reason.PURPOSE_NOT_ALLOWED, Reason.CONSENT_MISSING)
            raise Denied(reasons[0], "用途不在合同内", exchange="exchanges/8", reasons=reasons)
        values = [common.Value(string_value="王芳"), common.Value()]
        columns = [common.Column(name="姓名"), common.Column(name="曾用名")]
        row_set = common.RowSet(columns=columns, rows=[common.Row(values=values)])
        return exchange.QueryResponse(exchange="exchanges/1", subject_known=True, row_set=row_set)

    def Stream(self, request: Any, context: grpc.ServicerContext) -> Iterator[exchange.StreamResponse]:
        first = int(request.resume_token or 0)
        try:
            for number in range(first, 10**6 if request.context.purpose == "无尽" else 4):
                columns = [common.Column(name="n")] if number == first else []
                row = common.Row(values=[common.Value(int64_value=number)])
                yield exchange.StreamResponse(
                    exchange="exchanges/5" if number == first else "",
                    row_set=common.RowSet(columns=columns, rows=[row]),
                    resume_token=str(number + 1),
                    receipt=common.Receipt(record_index=3) if number == 3 else None,
                )
        finally:
            self.ended.set()


@dataclass
class World:
    authority: Authority
    folder: Path
    server: RunningServer
    catalog: Catalog
    contracts: Contracts
    consents: Consents
    exchange: Exchange
    opened: list[Client] = field(default_factory=list)

    def arguments(self, identity: Identity, **options: Any) -> dict[str, Any]:
        issued = self.authority.issue(identity, now=datetime.now(UTC))
        cert, key = save_issued(self.folder / str(uuid.uuid4()), identity, issued)
        return {"cert": cert, "key": key, "ca": self.folder / "ca.pem", **options}

    def client(self, identity: Identity = SYSTEM, **options: Any) -> Client:
        made = Client(f"127.0.0.1:{self.server.port}", **self.arguments(identity, **options))
        self.opened.append(made)
        return made

    def verifier(self) -> StatementVerifier:
        return StatementVerifier([self.authority.certificate], DOMAIN, clock=lambda: datetime.now(UTC))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    authority = create_authority(DOMAIN, now=datetime.now(UTC))
    save_authority(tmp_path, authority)
    paths = save_issued(tmp_path, GATEWAY, authority.issue(GATEWAY, now=datetime.now(UTC)))
    parts: Any = (Catalog(), Contracts(), Consents(), Exchange())  # type: ignore[abstract]
    adders: list[Callable[[Any, Any], None]] = [
        catalog_grpc.add_CatalogServiceServicer_to_server,
        contract_grpc.add_ContractServiceServicer_to_server,
        consent_grpc.add_ConsentServiceServicer_to_server,
        exchange_grpc.add_ExchangeServiceServicer_to_server,
    ]
    server = build_server(
        services=[Service(part, add) for part, add in zip(parts, adders, strict=True)],
        credentials=load_credentials(*paths, tmp_path / "ca.pem"),
        trust_domain=DOMAIN,
        clock=lambda: datetime.now(UTC),
        registry=CollectorRegistry(),
        address="127.0.0.1:0",
        authorise=lambda identity, method: None,
        workers=8,
    )
    server.start()
    found = World(authority, tmp_path, server, *parts)
    yield found
    for client in found.opened:
        client.close()
    server.stop(0)


ASKED: dict[str, Any] = {
    "contract": "contracts/edu",
    "purpose": "入学审核",
    "subject": ("cn.resident-id", "110101199003072316"),
    "fields": ["姓名", "曾用名"],
}


def test_a_query_answers_python_rows_and_the_exchange_to_quote(world: World) -> None:
    result = world.client().query(**ASKED)
    assert result.rows == [{"姓名": "王芳", "曾用名": None}]
    assert (result.exchange, result.subject_known) == ("exchanges/1", True)


def test_a_denial_is_typed_with_every_reason_and_the_exchange(world: World) -> None:
    with pytest.raises(Denied) as caught:
        world.client().query(**{**ASKED, "purpose": "闲逛"})
    assert caught.value.reasons == (Reason.PURPOSE_NOT_ALLOWED, Reason.CONSENT_MISSING)
    assert caught.value.exchange == "exchanges/8"
    assert str(caught.value) == "用途不在合同内"


def test_lists_go_on_from_page_to_page(world: World) -> None:
    names = [each.name for each in world.client().catalog.list()]
    assert names == [f"{DATASET}-{number}" for number in range(3)]


def test_a_safe_call_is_tried_again_while_the_server_is_away(world: World) -> None:
    world.catalog.away = 2
    assert world.client().catalog.get(DATASET).name == DATASET
    assert world.catalog.calls == 3


def test_an_exchange_is_never_sent_twice(world: World) -> None:
    with pytest.raises(Unavailable) as caught:
        world.client().query(**{**ASKED, "contract": "contracts/away"})
    assert (caught.value.reason, world.exchange.calls) == (Reason.DEPARTMENT_UNAVAILABLE, 1)


def test_a_server_of_another_name_is_not_talked_to(world: World) -> None:
    with pytest.raises(Unavailable):
        world.client(server="gateway/other").query(**ASKED)
    assert world.exchange.calls == 0


def test_a_deadline_ends_a_call(world: World) -> None:
    client = world.client()
    with pytest.raises(DeadlineExceeded):
        client.with_deadline(0.2).query(**{**ASKED, "contract": "contracts/slow"})
    world.exchange.release.set()
    assert client.query(**ASKED).exchange == "exchanges/1"


def test_a_stream_yields_rows_and_can_be_resumed_where_it_was_left(world: World) -> None:
    asked: dict[str, Any] = {"contract": "contracts/edu", "purpose": "入学审核", "fields": ["n"]}
    client = world.client()
    stream = client.exchange.stream(**asked)
    rows = iter(stream)
    assert [next(rows)["n"], next(rows)["n"]] == [0, 1]
    # The second row was taken, but whoever takes it may not have kept it yet.
    assert (stream.exchange, stream.resume_token, stream.receipt) == ("exchanges/5", "1", None)
    rest = client.exchange.stream(**asked, resume_token=stream.resume_token)
    assert [row["n"] for row in rest] == [1, 2, 3]
    assert rest.receipt is not None
    assert rest.resume_token == "4"


def test_leaving_a_stream_early_ends_it_at_the_server(world: World) -> None:
    stream = world.client().exchange.stream(contract="contracts/edu", purpose="无尽", fields=["n"])
    for row in stream:
        assert row == {"n": 0}
        break
    assert world.exchange.ended.wait(10)


def test_signing_states_the_terms_that_were_read(world: World) -> None:
    digest = world.contracts.contract.terms_digest
    world.client(OFFICER).contracts.sign("contracts/edu@1", terms_digest=digest)
    request = world.contracts.signed[0]
    verified = world.verifier().verify(
        request.statement, kind=StatementKind.CONTRACT, expect_role=Role.OFFICER
    )
    assert verified.identity == OFFICER
    assert verified.payload["contract"] == "contracts/edu@1"
    assert verified.payload["department"] == "departments/education"
    assert document_to_terms(verified.payload["terms"]) == world.contracts.contract.terms
    assert request.etag == '"7"'


def test_a_gateway_that_shows_one_text_and_asks_to_sign_another_gets_no_signature(world: World) -> None:
    world.contracts.contract.terms.retention_days = 36500
    with pytest.raises(StatementInvalid, match="nothing was signed"):
        world.client(OFFICER).contracts.sign("contracts/edu@1")
    assert world.contracts.signed == []


def test_terms_other_than_those_examined_are_not_signed(world: World) -> None:
    with pytest.raises(StatementInvalid, match="not the one examined"):
        world.client(OFFICER).contracts.sign("contracts/edu@1", terms_digest="0" * 64)
    assert world.contracts.signed == []


def test_a_proposal_from_a_document_carries_a_request_id(world: World) -> None:
    world.client(OFFICER).contracts.propose("edu", TERMS, reason="新生入学")
    request = world.contracts.proposed[0]
    assert request.terms == document_to_terms(TERMS)
    assert uuid.UUID(request.request_id).version == 4


def test_a_consent_is_signed_over_a_commitment_that_only_the_request_opens(world: World) -> None:
    notice = {"uri": "https://portal.example/notice", "sha256": "a" * 64, "language": "zh-CN"}
    given = world.client(PORTAL).consents.grant(
        "contracts/edu@1", ("cn.resident-id", " 11010119900307231x "), ConsentTerms(notice=notice)
    )
    assert given.receipt == "a.b.c"
    request = world.consents.granted[0]
    verified = world.verifier().verify(request.statement, kind=StatementKind.CONSENT, expect_role=Role.PORTAL)
    statement = ConsentStatement.parse(verified.payload)
    assert request.subject.id == "11010119900307231X"
    opened = request.subject_nonce + b"cn.resident-id\0" + request.subject.id.encode()
    assert statement.subject_commitment == hashlib.sha256(opened).hexdigest()
    assert "11010119900307231" not in str(verified.payload)
    assert (statement.purposes, statement.fields, statement.modes) == (
        ("入学审核",),
        ("姓名",),
        ("QUERY", "VERIFY"),
    )
    assert statement.terms_digest == world.contracts.contract.terms_digest
    assert abs(statement.not_before - datetime.now(UTC)) < timedelta(minutes=1)
    assert statement.not_after == datetime(2030, 1, 1, tzinfo=UTC)


def test_everything_works_with_await_too(world: World) -> None:
    async def ask() -> None:
        arguments = world.arguments(OFFICER)
        async with AsyncClient(f"127.0.0.1:{world.server.port}", **arguments) as client:
            assert (await client.query(**ASKED)).rows[0]["姓名"] == "王芳"
            assert len([each async for each in client.catalog.list()]) == 3
            with pytest.raises(Denied):
                await client.query(**{**ASKED, "purpose": "闲逛"})
            stream = client.exchange.stream(contract="contracts/edu", purpose="入学审核", fields=["n"])
            assert [row["n"] async for row in stream] == [0, 1, 2, 3]
            assert stream.receipt is not None
            await client.contracts.sign("contracts/edu@1")
            with pytest.raises(DeadlineExceeded):
                await client.with_deadline(0.2).query(**{**ASKED, "contract": "contracts/slow"})
            world.exchange.release.set()

    asyncio.run(ask())
    assert len(world.contracts.signed) == 1


def test_the_sync_and_the_async_client_offer_the_same() -> None:
    for part in ("audit", "catalog", "consents", "contracts", "exchange"):
        module = __import__(f"isthmus.client.{part}", fromlist=["x"])
        name = part.capitalize()
        offered = {each for each in vars(getattr(module, name)) if not each.startswith("_")}
        assert offered == {each for each in vars(getattr(module, f"Async{name}")) if not each.startswith("_")}
