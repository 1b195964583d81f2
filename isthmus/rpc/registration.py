"""Puts the guard around every method of a service as the generated `add_…_to_server` registers it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import grpc

from isthmus.errors import IsthmusError, Reason, ResourceExhausted, Unimplemented
from isthmus.identity import IdentityError, PeerResolver
from isthmus.rpc.guard import Guard, guarded
from isthmus.rpc.metrics import RpcMetrics
from isthmus.status import to_status

MAX_REFLECTIONS: Final = 4
"""Reflection streams at once: each holds a worker for as long as its caller likes."""


class GuardedRegistrar:
    """Stands where generated code expects a server, and passes guarded handlers on to the real one."""

    def __init__(self, server: grpc.Server, guard: Guard, metrics: RpcMetrics) -> None:
        self._server: Any = server
        self._guard = guard
        self._metrics = metrics
        self.services: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler[Any, Any]]) -> None:
        """Takes nothing: the same methods arrive by name in `add_registered_method_handlers`."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Registers every method of `service` behind the guard."""
        wrapped = {
            name: guarded(
                handler,
                method=f"/{service}/{name}",
                guard=self._guard,
                metrics=self._metrics.of_method(
                    service, name, response_stream=handler.unary_stream is not None
                ),
            )
            for name, handler in handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
        self._server.add_registered_method_handlers(service, wrapped)
        self.services.append(service)


class ReflectionRegistrar:
    """Registers reflection for every identity of the trust domain, a few streams at a time."""

    def __init__(self, server: grpc.Server, peers: PeerResolver) -> None:
        self._server: Any = server
        self._peers = peers
        self._free = threading.BoundedSemaphore(MAX_REFLECTIONS)

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler[Any, Any]]) -> None:
        """Takes nothing, as `GuardedRegistrar.add_generic_rpc_handlers`."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Registers the one bidirectional method of reflection."""
        wrapped = {name: self._bounded(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
        self._server.add_registered_method_handlers(service, wrapped)

    def _bounded(self, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        handle: Callable[..., Iterator[Any]] = handler.stream_stream  # type: ignore[assignment]

        def reflect(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                self._peers.resolve(context.auth_context())
            except IdentityError:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "reflection is for identities of this system")
            if not self._free.acquire(blocking=False):
                busy = ResourceExhausted(Reason.OVERLOADED, "too many reflection streams; try again")
                context.abort_with_status(to_status(busy))
            try:
                yield from handle(requests, context)
            finally:
                self._free.release()

        return grpc.stream_stream_rpc_method_handler(
            reflect,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class UnknownMethods(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Answers a method that no service has with the same kind of error as every other refusal."""

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Returns a handler that refuses; register this one last."""
        method = handler_call_details.method

        def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
            # The path is the caller's own text: it is not sent back, and cannot grow the answer.
            known = "isthmus.v1" if method.startswith("/isthmus.v1.") else "this server"
            error: IsthmusError = Unimplemented(f"a method that is unknown to {known}")
            return context.abort_with_status(to_status(error))

        return grpc.unary_unary_rpc_method_handler(refuse)
