"""Channels to the departments' nodes: pinned to one identity each, whatever address they are at."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from isthmus.identity import Identity
from isthmus.pki import Credentials, pinned_to
from isthmus.v1.department_service_pb2_grpc import DepartmentServiceStub

_PROBE_TIMEOUT_S: Final = 2.0
_OPTIONS: Final = (
    # After an outage a department is found again within seconds, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A call is repeated by whoever made it, under a new exchange: the node refuses to answer one twice.
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Node:
    """Where a department's node is, and who it is: nobody else is talked to there."""

    department: str
    address: str
    identity: Identity


class Departments:
    """The channels; safe to use from many threads.

    Args:
        nodes: one a department.
        credentials: the gateway's own.
        max_response_bytes: of one answer to a grant.
        watch: is told for each department, `departments/{department}`, whether its node serves.
        interval: seconds between two looks at the nodes' health.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        credentials: Credentials,
        *,
        max_response_bytes: int,
        watch: Callable[[str, bool], None],
        interval: float = 10.0,
    ) -> None:
        self._watch = watch
        self._interval = interval
        self._nodes = dict(nodes)
        self._channels = {
            name: _channel(node, credentials, max_response_bytes) for name, node in nodes.items()
        }
        self._stubs = {name: DepartmentServiceStub(each) for name, each in self._channels.items()}
        self._health = {name: health_pb2_grpc.HealthStub(each) for name, each in self._channels.items()}
        self._stopping = threading.Event()
        self._prober = threading.Thread(target=self._probe, name="department-health", daemon=True)

    @property
    def names(self) -> tuple[str, ...]:
        """The departments that have a node, `departments/{department}`."""
        return tuple(self._stubs)

    def stub(self, department: str) -> DepartmentServiceStub | None:
        """The service of a department's node; None when none is configured."""
        return self._stubs.get(department)

    def node(self, department: str) -> Node | None:
        """Where a department's node is; None when none is configured."""
        return self._nodes.get(department)

    def start(self) -> None:
        """Begins to watch the nodes' health."""
        self._prober.start()

    def close(self) -> None:
        """Stops watching and closes every channel."""
        self._stopping.set()
        if self._prober.is_alive():
            self._prober.join(timeout=_PROBE_TIMEOUT_S * (len(self._health) + 1))
        for channel in self._channels.values():
            channel.close()

    def _probe(self) -> None:
        while not self._stopping.is_set():
            for department, stub in self._health.items():
                if self._stopping.is_set():
                    return
                self._watch(department, _serves(stub))
            self._stopping.wait(self._interval)


def _serves(stub: health_pb2_grpc.HealthStub) -> bool:
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_TIMEOUT_S)
    except (grpc.RpcError, ValueError):  # ValueError: the channel was closed meanwhile
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(node: Node, credentials: Credentials, max_response_bytes: int) -> grpc.Channel:
    options = (
        *pinned_to(node.identity),
        *_OPTIONS,
        ("grpc.max_receive_message_length", max_response_bytes),
    )
    return grpc.secure_channel(node.address, credentials.channel_credentials(), options=options)
