"""A real server of the kit on a real socket with real certificates, and ways to call it."""

import io
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from prometheus_client import CollectorRegistry

from isthmus.errors import IsthmusError, NotFound, PermissionDenied, Reason
from isthmus.identity import Identity, Role
from isthmus.log import redact
from isthmus.pki import Authority, Credentials, Issued, create_authority, load_credentials, pinned_to
from isthmus.pki.store import save_authority, save_issued
from isthmus.rpc import Caller, RunningServer, Service, build_server, caller
from isthmus.status import from_rpc_error
from isthmus.v1 import catalog_service_pb2 as catalog
from isthmus.v1 import catalog_service_pb2_grpc as catalog_grpc
from isthmus.v1 import exchange_service_pb2 as exchange
from isthmus.v1 import exchange_service_pb2_grpc as exchange_grpc

DOMAIN = "data.example"
GATEWAY = Identity(DOMAIN, Role.GATEWAY, None, "main")
SYSTEM = Identity(DOMAIN, Role.SYSTEM, "education", "enrolment")
OPERATOR = Identity(DOMAIN, Role.OPERATOR, None, "night-shift")
SECRET = "110101199003072316"


class Catalog(catalog_grpc.CatalogServiceServicer):
    """Answers with what the kit told it about the caller."""

    def __init__(self) -> None:
        self.seen: list[Caller] = []

    def GetDataset(
        self, request: catalog.GetDatasetRequest, context: grpc.ServicerContext
    ) -> catalog.GetDatasetResponse:
        self.seen.append(caller(context))
        if request.name == "departments/a/datasets/missing":
            raise NotFound(request.name)
        if request.name == "departments/a/datasets/broken":
            raise ValueError(f"no row for {SECRET}")
        return catalog.GetDatasetResponse(dataset=catalog.Dataset(name=request.name, title="人口基础信息"))


class Exchange(exchange_grpc.ExchangeServiceServicer):
    """Streams forever, or until somebody stops it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.seen: list[Caller] = []

    def Stream(
        self, request: exchange.StreamRequest, context: grpc.ServicerContext
    ) -> Iterator[exchange.StreamResponse]:
        self.seen.append(caller(context))
        try:
            yield exchange.StreamResponse(exchange="exchanges/1")
            if request.resume_token == "break":
                raise PermissionDenied(
                    Reason.CONTRACT_SUSPENDED, "suspended meanwhile", exchange="exchanges/1"
                )
            while request.resume_token == "forever":
                yield exchange.StreamResponse(arrow=b"x" * 65536)
        finally:
            self.ended.set()


def authorise(identity: Identity, method: str) -> None:
    if identity.role is Role.OPERATOR:
        raise PermissionDenied(Reason.ROLE_NOT_ALLOWED, f"an operator may not call {method}")


@dataclass
class World:
    """A certification authority, a server, and ways to call it."""

    authority: Authority
    folder: Path
    server: RunningServer
    catalog: Catalog
    exchange: Exchange
    registry: CollectorRegistry
    log: io.StringIO
    stack: ExitStack

    def credentials(self, identity: Identity, issued: Issued | None = None) -> Credentials:
        folder = self.folder / identity.name
        made = issued or self.authority.issue(identity, now=datetime.now(UTC))
        certificate, key = save_issued(folder, identity, made, force=True)
        return load_credentials(certificate, key, self.folder / "ca.pem")

    def channel(self, credentials: Credentials) -> grpc.Channel:
        channel = grpc.secure_channel(
            f"127.0.0.1:{self.server.port}", credentials.channel_credentials(), options=pinned_to(GATEWAY)
        )
        return self.stack.enter_context(channel)

    def value(self, metric: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(metric, labels)


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """A server of two services that is stopped, after the channels to it, at the end."""
    authority = create_authority(DOMAIN, now=datetime.now(UTC))
    save_authority(folder, authority)
    issued = authority.issue(GATEWAY, now=datetime.now(UTC))
    paths = save_issued(folder, GATEWAY, issued)
    registry, output = CollectorRegistry(), io.StringIO()
    servicer, exchanges = Catalog(), Exchange()  # type: ignore[abstract]  # the rest are not called
    processors: list[Any] = [redact, structlog.processors.JSONRenderer()]
    log: Any = structlog.wrap_logger(structlog.PrintLogger(output), processors=processors)
    server = build_server(
        services=[
            Service(servicer, catalog_grpc.add_CatalogServiceServicer_to_server),
            Service(exchanges, exchange_grpc.add_ExchangeServiceServicer_to_server),
        ],
        credentials=load_credentials(*paths, folder / "ca.pem"),
        trust_domain=DOMAIN,
        clock=lambda: datetime.now(UTC),
        registry=registry,
        address="127.0.0.1:0",
        authorise=authorise,
        threads=8,
        log=log,
    )
    server.start()
    try:
        with ExitStack() as stack:
            yield World(authority, folder, server, servicer, exchanges, registry, output, stack)
    finally:
        server.stop(0)


def get(channel: grpc.Channel, name: str, **options: Any) -> catalog.GetDatasetResponse:
    return catalog_grpc.CatalogServiceStub(channel).GetDataset(
        catalog.GetDatasetRequest(name=name), **{"timeout": 30, **options}
    )


def refused(channel: grpc.Channel, name: str, **options: Any) -> IsthmusError:
    with pytest.raises(grpc.RpcError) as caught:
        get(channel, name, **options)
    return from_rpc_error(caught.value)


def raw(channel: grpc.Channel, method: str, request: bytes = b"\xff\xff") -> IsthmusError:
    """Calls a method with bytes, unless told otherwise such as are no message."""
    call: Any = channel
    with pytest.raises(grpc.RpcError) as caught:
        call.unary_unary(method)(request, timeout=30)
    return from_rpc_error(caught.value)


def stream_request(resume_token: str = "") -> exchange.StreamRequest:
    context = exchange.ExchangeContext(contract="contracts/c", purpose="入学审核")
    return exchange.StreamRequest(context=context, fields=["姓名"], resume_token=resume_token)
