"""A real server whose services answer from memory, and clients of the SDK for it."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from isthmus.client import Client
from isthmus.errors import Denied, Reason, Unavailable
from isthmus.identity import Identity, Role
from isthmus.pki import Authority, create_authority, load_credentials
from isthmus.pki.store import save_authority, save_issued
from isthmus.rpc import RunningServer, Service, build_server
from isthmus.rpc.paging import cursor_of, next_page_token
from isthmus.statement import StatementVerifier
from isthmus.terms import document_to_terms, terms_digest, terms_json
from isthmus.v1 import catalog_service_pb2 as catalog
from isthmus.v1 import catalog_service_pb2_grpc as catalog_grpc
from isthmus.v1 import common_pb2 as common
from isthmus.v1 import consent_service_pb2 as consent
from isthmus.v1 import consent_service_pb2_grpc as consent_grpc
from isthmus.v1 import contract_service_pb2 as contract
from isthmus.v1 import contract_service_pb2_grpc as contract_grpc
from isthmus.v1 import exchange_service_pb2 as exchange
from isthmus.v1 import exchange_service_pb2_grpc as exchange_grpc

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


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """A server of the four services that is stopped, with its clients, at the end."""
    authority = create_authority(DOMAIN, now=datetime.now(UTC))
    save_authority(folder, authority)
    paths = save_issued(folder, GATEWAY, authority.issue(GATEWAY, now=datetime.now(UTC)))
    parts: Any = (Catalog(), Contracts(), Consents(), Exchange())  # type: ignore[abstract]
    adders: list[Callable[[Any, Any], None]] = [
        catalog_grpc.add_CatalogServiceServicer_to_server,
        contract_grpc.add_ContractServiceServicer_to_server,
        consent_grpc.add_ConsentServiceServicer_to_server,
        exchange_grpc.add_ExchangeServiceServicer_to_server,
    ]
    server = build_server(
        services=[Service(part, add) for part, add in zip(parts, adders, strict=True)],
        credentials=load_credentials(*paths, folder / "ca.pem"),
        trust_domain=DOMAIN,
        clock=lambda: datetime.now(UTC),
        registry=CollectorRegistry(),
        address="127.0.0.1:0",
        authorise=lambda identity, method: None,
        threads=8,
    )
    server.start()
    found = World(authority, folder, server, *parts)
    try:
        yield found
    finally:
        for client in found.opened:
            client.close()
        server.stop(0)
