"""Where spans cannot go or are not wanted: exchanges are not delayed, and processes refuse in words or do nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from audit.main import AuditServer, StartError
from gateway.load import GatewayError
from gateway.main import Gateway
from isthmus.tracing import TracingSettings, open_spans
from services.manifest_file import load_manifest
from services.node import Node, NodeError
from tests.integration.exchange_parties import (
    now,
)
from tests.integration.exchange_world import World
from tests.integration.otlp_collector import Collector, collecting
from tests.integration.stream_world import client
from tests.integration.tracing_world import (
    ask,
    audit_config,
    exporting,
    silent,
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


def test_a_collector_that_is_away_delays_neither_exchanges_nor_the_end(world: World) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        world.restart_gateway(tracing=TracingSettings(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        with client(world, world.folder) as sdk:
            began = time.monotonic()
            for _ in range(5):
                ask(sdk)
            assert time.monotonic() - began < 5
        stopping = threading.Thread(target=world.stop_gateway)
        stopping.start()
        stopping.join(30)
        assert not stopping.is_alive()


def test_an_endpoint_without_the_extra_is_refused_in_words(
    quiet: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "opentelemetry"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "isthmus.tracing_otlp", raising=False)
    tracing = TracingSettings(endpoint="http://127.0.0.1:4317")
    with pytest.raises(GatewayError, match=r"extra `otel`.*install isthmus\[otel\], or remove"):
        quiet.restart_gateway(tracing=tracing)
    manifest = load_manifest(
        quiet.folder / "department.toml", environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}
    )
    with pytest.raises(NodeError, match="extra `otel`"):
        Node(manifest, clock=now, registry=CollectorRegistry())
    with pytest.raises(StartError, match="extra `otel`"):
        AuditServer(audit_config(quiet, None), clock=now, registry=CollectorRegistry())
    quiet.gateway = Gateway(
        quiet.config.__class__(**_without(quiet)), clock=now, registry=CollectorRegistry()
    )
    quiet.gateway.start()
    quiet._serving = True
    with client(quiet, quiet.folder) as sdk:
        assert ask(sdk)


def _without(world: World) -> dict[str, Any]:
    members = {name: getattr(world.config, name) for name in world.config.__dataclass_fields__}
    return members | {"tracing": TracingSettings()}


def test_without_an_endpoint_no_process_imports_opentelemetry() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import audit.main, gateway.main, gateway.worker, services.main, isthmus.client\n"
        "from isthmus.tracing import TracingSettings, open_spans\n"
        "assert open_spans(TracingSettings(), service='s', instance='i') is None\n"
        "print([each for each in sys.modules if each.startswith('opentelemetry')])\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, root], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "endpoint",
    [
        "collector:4317",
        "ftp://collector:4317",
        "http://",
        "http://u:p@collector:4317",
        "http://collector:4317/v1/traces",
    ],
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint of tracing must be http://host:port"):
        TracingSettings(endpoint=endpoint)
    with pytest.raises(ValueError, match="endpoint of tracing"):
        TracingSettings().or_from({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})


def test_the_environment_names_the_collector_where_the_file_does_not() -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://from-environment:4317"}
    assert TracingSettings().or_from(environ).endpoint == "http://from-environment:4317"
    assert TracingSettings(endpoint="http://own:4317").or_from(environ).endpoint == "http://own:4317"
    assert open_spans(TracingSettings().or_from({}), service="s", instance="i") is None
    with pytest.raises(ValueError, match="from 0 to 1"):
        TracingSettings(ratio=1.5)
