"""One trace from a caller through gateway and node into the record; and its spans at a real OTLP collector."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from audit.main import AuditServer
from audit.record import AccessRecord
from isthmus.client import Client, traced
from isthmus.errors import Denied, Unavailable
from isthmus.pki import file_stem
from isthmus.traceparent import own_span_id, own_trace_id
from isthmus.tracing import TracingSettings
from isthmus.v1.department_service_pb2 import FetchRequest, FetchResponse
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.integration.batch_calls import resident
from tests.integration.exchange_nodes import Gate, LyingNode
from tests.integration.exchange_parties import (
    AUDITOR,
    PURPOSE,
    RESIDENT,
    SYSTEM,
    now,
    query,
)
from tests.integration.exchange_world import World
from tests.integration.otlp_collector import Collector, collecting
from tests.integration.stream_world import client, ends
from tests.integration.tracing_world import (
    ANYONE,
    ASKED,
    STAGES,
    ask,
    audit_config,
    batch,
    exporting,
    fresh,
    parent_of,
    silent,
    sole,
    stream,
    verify,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as each:
        yield each


@pytest.fixture
def world(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with exporting(tmp_path, collector, monkeypatch) as each:
        yield each


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[World]:
    with silent(tmp_path) as each:
        yield each


@pytest.mark.parametrize("do", [ask, verify, batch, stream])
def test_one_trace_goes_from_the_caller_through_gateway_and_node_into_the_record(
    world: World, collector: Collector, do: Callable[[Client], str]
) -> None:
    trace_id = fresh()
    with client(world, world.folder) as sdk, traced(parent_of(trace_id)):
        exchange = do(sdk)
    assert world.sole_decision().trace_id == trace_id
    assert all(each.trace_id == trace_id for each in ends(world))
    whole = sole(collector.wait(name="isthmus.exchange", trace_id=trace_id))
    assert whole.service == "isthmus-gateway"
    assert (whole.parent_id, whole.span_id) == ("b7ad6b7169203331", own_span_id(exchange))
    record = world.sole_decision()
    expected = {
        "isthmus.exchange": exchange,
        "isthmus.consumer": record.consumer,
        "isthmus.provider": record.provider,
        "isthmus.dataset": record.dataset,
        "isthmus.decision": "ALLOW",
        "isthmus.mode": record.mode,
    }
    assert expected.items() <= whole.attributes.items()
    for stage in STAGES:
        for part in collector.wait(name=stage, trace_id=trace_id):
            assert part.parent_id == whole.span_id and 0 <= part.seconds <= whole.seconds + 0.5
    call = sole(collector.wait(name="isthmus.call", trace_id=trace_id))
    assert call.parent_id == whole.span_id and not call.links
    node = sole(collector.wait(service="isthmus-department", trace_id=trace_id))
    assert (
        node.parent_id == call.span_id
        and node.attributes["isthmus.grant"] == call.attributes["isthmus.grant"]
    )
    assert node.attributes["isthmus.exchange"] == [exchange]


def test_a_call_for_several_has_a_trace_of_its_own_and_each_keeps_its_own(
    world: World, collector: Collector
) -> None:
    assert world.node is not None
    gate, traces = Gate(world.node), [fresh() for _ in range(4)]

    def one(trace_id: str) -> str:
        with traced(parent_of(trace_id)):
            return ask(sdk)

    with client(world, world.folder, deadline=60) as sdk, ThreadPoolExecutor(4) as pool:
        first = pool.submit(one, traces[0])
        assert gate.arrived.wait(20)
        others = [pool.submit(one, each) for each in traces[1:]]
        network: Any = world.gateway._network
        while sum(len(each._waiting) for each in network._trains.values()) < len(others):
            time.sleep(0.01)
        gate.opened.set()
        exchanges = dict(zip(traces, [first.result(30), *(each.result(30) for each in others)], strict=True))
    recorded = {record.exchange: record.trace_id for record in world.decisions()}
    assert recorded == {exchange: trace_id for trace_id, exchange in exchanges.items()}
    together = [sole(collector.wait(name="isthmus.called_together", trace_id=each)) for each in traces[1:]]
    call = sole([each for each in collector.wait(2, name="isthmus.call") if each.links])
    assert call.trace_id not in traces and call.trace_id == own_trace_id(call.attributes["isthmus.grant"])
    assert set(call.links) == {(each, own_span_id(exchanges[each])) for each in traces[1:]}
    assert {each.links for each in together} == {((call.trace_id, call.span_id),)}
    node = sole(collector.wait(service="isthmus-department", trace_id=call.trace_id))
    assert node.parent_id == call.span_id and node.attributes["isthmus.aboard"] == 3


@pytest.mark.parametrize("sent", [None, "nonsense", parent_of("0" * 32), parent_of("a" * 32) + "-x"])
def test_a_malformed_trace_is_as_none_and_a_new_one_begins_that_bears_the_exchanges_id(
    world: World, collector: Collector, sent: str | None
) -> None:
    metadata = ((("traceparent", sent),)) if sent is not None else None
    stub = ExchangeServiceStub(world.channel(SYSTEM))
    answer = stub.Query(query(fields=["income"], case="案2026-11号"), timeout=20, metadata=metadata)
    assert world.sole_decision().trace_id == ""
    whole = sole(collector.wait(name="isthmus.exchange"))
    assert (whole.trace_id, whole.parent_id) == (own_trace_id(answer.exchange), "")
    node = sole(collector.wait(service="isthmus-department"))
    assert node.trace_id == whole.trace_id


def test_whoever_began_a_trace_decides_whether_it_is_kept(world: World, collector: Collector) -> None:
    dropped, kept = fresh(), fresh()
    with client(world, world.folder) as sdk:
        with traced(parent_of(dropped, flags="00")):
            ask(sdk)
        with traced(parent_of(kept)):
            ask(sdk)
    assert [each.trace_id for each in world.decisions()] == [dropped, kept]
    collector.wait(name="isthmus.exchange", trace_id=kept)
    collector.wait(service="isthmus-department", trace_id=kept)
    assert not collector.spans(trace_id=dropped)


def test_a_ratio_of_nothing_keeps_only_what_others_began(world: World, collector: Collector) -> None:
    world.restart_gateway(tracing=TracingSettings(endpoint=collector.endpoint, ratio=0.0))
    trace_id = fresh()
    with client(world, world.folder) as sdk:
        ask(sdk)
        with traced(parent_of(trace_id)):
            ask(sdk)
    collector.wait(name="isthmus.exchange", trace_id=trace_id)
    assert {each.trace_id for each in collector.spans()} == {trace_id}


def test_denials_and_faults_have_spans_that_say_so_and_nothing_of_the_person(
    world: World, collector: Collector
) -> None:
    world.agree(**{**ANYONE, "legal_basis": "CONSENT"})
    with client(world, world.folder) as sdk, pytest.raises(Denied) as refused:
        ask(sdk)
    world.agree(**ANYONE)
    world.stop_node()
    with client(world, world.folder) as sdk, pytest.raises(Unavailable) as failed:
        ask(sdk)
    denied = sole(collector.wait(name="isthmus.exchange", trace_id=own_trace_id(refused.value.exchange)))
    assert denied.attributes["isthmus.reasons"] == ["CONSENT_MISSING"] and not denied.failed
    fault = sole(collector.wait(name="isthmus.exchange", trace_id=own_trace_id(failed.value.exchange)))
    assert fault.attributes["isthmus.decision"] == "ERROR" and fault.failed
    call = sole(collector.wait(name="isthmus.call", trace_id=fault.trace_id))
    assert call.failed
    everything = b"".join(collector.raw)
    for personal in (RESIDENT, "王小明", "北京", PURPOSE):
        assert personal.encode() not in everything


def test_a_trace_id_that_holds_the_subjects_identifier_goes_nowhere(
    world: World, collector: Collector
) -> None:
    """An identifier of digits is hexadecimal too; the record is kept for good, and the node would be told."""
    hidden = RESIDENT.rjust(32, "a")
    with client(world, world.folder) as sdk:
        with traced(parent_of(hidden)):
            exchange = ask(sdk)
        with traced(parent_of(resident(7).rjust(32, "b"))):
            sdk.exchange.batch(**ASKED, subjects=[("cn.resident-id", resident(n)) for n in range(9)])
        with traced(f"00-{fresh()}-{RESIDENT[:16]}-01"):
            ask(sdk, subject=RESIDENT[:16])
    assert [each.trace_id for each in world.decisions()] == ["", "", ""]
    collector.wait(3, name="isthmus.exchange")
    collector.wait(3, service="isthmus-department")
    assert own_trace_id(exchange) in {each.trace_id for each in collector.spans()}
    assert not any(hidden in each.trace_id for each in collector.spans())
    assert RESIDENT.encode() not in world.everything_at_rest()
    everything = "".join(each.trace_id + each.span_id + each.parent_id for each in collector.spans())
    assert RESIDENT not in everything and RESIDENT[:16] not in everything and resident(7) not in everything


class Listening(LyingNode):
    """An honest node that keeps the metadata of its calls."""

    def __init__(self, world: World) -> None:
        super().__init__(world, lambda *_: None)
        self.heard: list[dict[str, str]] = []

    def Fetch(self, request: FetchRequest, context: grpc.ServicerContext) -> FetchResponse:
        self.heard.append({key: str(value) for key, value in context.invocation_metadata()})
        return super().Fetch(request, context)


def test_without_export_a_node_still_hears_the_callers_trace_and_nothing_when_there_is_none(
    quiet: World,
) -> None:
    node, trace_id = Listening(quiet), fresh()
    with node.serving(), client(quiet, quiet.folder) as sdk:
        with traced(parent_of(trace_id)):
            ask(sdk)
        ask(sdk)
    first, second = node.heard
    grant = node.grants[0]["grant"]
    assert first["traceparent"] == f"00-{trace_id}-{own_span_id(grant)}-01" and "tracestate" not in first
    assert "traceparent" not in second
    assert [each.trace_id for each in quiet.decisions()] == [trace_id, ""]


def test_a_trace_gives_nobody_any_right(quiet: World) -> None:
    """The same question with another party's trace is decided by the certificate alone."""
    quiet.agree(**{**ANYONE, "legal_basis": "CONSENT"})
    with client(quiet, quiet.folder) as sdk, traced(parent_of(fresh())), pytest.raises(Denied):
        ask(sdk)
    record: AccessRecord = quiet.sole_decision()
    assert record.decision == "DENY" and record.caller == SYSTEM.uri


def test_the_audit_service_exports_the_calls_of_auditors(
    world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, trace_id = (
        AuditServer(audit_config(world, collector), clock=now, registry=CollectorRegistry()),
        fresh(),
    )
    server.start()
    pki, stem = world.folder / "pki", file_stem(AUDITOR)
    world.credentials(AUDITOR)
    try:
        with (
            Client(
                f"127.0.0.1:{server.port}",
                cert=pki / f"{stem}.pem",
                key=pki / f"{stem}.key",
                ca=pki / "ca.pem",
                server="audit/main",
            ) as sdk,
            traced(parent_of(trace_id)),
        ):
            assert sdk.audit.checkpoint()
        span = sole(collector.wait(service="isthmus-audit", trace_id=trace_id))
    finally:
        server.stop(0)
    assert (span.name, span.parent_id) == ("isthmus.v1.AuditService/GetCheckpoint", "b7ad6b7169203331")
    assert span.attributes["isthmus.caller"] == AUDITOR.resource
