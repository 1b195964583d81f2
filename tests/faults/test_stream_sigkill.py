"""The gateway is killed in the middle of a stream: its opening stays without an end, and everything verifies."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.load import open_ledger
from isthmus.pki import pinned_to
from isthmus.v1.exchange_service_pb2 import StreamResponse
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.faults.test_gateway_sigkill import free_port, gateway_process, write_config
from tests.integration.exchange_parties import GATEWAY, SYSTEM, now
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_nodes import ScriptedNode
from tests.integration.stream_world import agree, all_records, ends, request, verified

pytestmark = [pytest.mark.fault, pytest.mark.e2e]


def test_a_killed_gateway_leaves_an_opening_without_an_end_and_the_stream_can_go_on(tmp_path: Path) -> None:
    held = threading.Event()
    with world_in(tmp_path) as world:
        agree(world)
        with ScriptedNode(world, chunks=4, gate=lambda n: n < 2 or held.wait(20)).serving():
            address = world.config.departments["civil-registry"].address
            world.stop_gateway()
            port = free_port()
            config = write_config(world, port)
            section = config.read_text(encoding="utf-8")
            assert world.node is not None
            config.write_text(section.replace(f"127.0.0.1:{world.node.port}", address), encoding="utf-8")
            token = killed_in_the_middle(world, config, port)
            held.set()
            ledger = open_ledger(world.config, clock=now)
            ledger.close()
            assert verified(world).size
            with gateway_process(config, port), channel(world, port) as connection:
                rest = list(ExchangeServiceStub(connection).Stream(request(token=token), timeout=30))
            assert [row.values[1].int64_value for each in rest for row in each.row_set.rows] == [4, 5, 6, 7]
        world.restart_gateway()
        cut, whole = world.decisions()
        (end,) = ends(world)
        assert cut.decision == whole.decision == "ALLOW"
        assert end.exchange == whole.exchange != cut.exchange
        assert len(all_records(world)) == verified(world).size


def killed_in_the_middle(world: World, config: Path, port: int) -> str:
    """Kills the gateway when two chunks have arrived; returns the last token."""
    with gateway_process(config, port) as process, channel(world, port) as connection:
        call: Any = ExchangeServiceStub(connection).Stream(request(), timeout=30)
        received: list[StreamResponse] = [next(call) for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(grpc.RpcError):
            next(call)
    return received[-1].resume_token


def channel(world: World, port: int) -> grpc.Channel:
    credentials = world.credentials(SYSTEM).channel_credentials()
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=pinned_to(GATEWAY))
