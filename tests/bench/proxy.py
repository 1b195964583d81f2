"""Peer (b): a grpc.aio proxy that does nothing. Mutual TLS on both sides, bytes in, the same bytes out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from tests.bench import job


class PassThrough(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in its stubs only
    """Hands every unary call on to one channel, unread."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._handlers: dict[str, job.Handler] = {}

    def service(self, details: grpc.HandlerCallDetails) -> job.Handler:
        """The handler of a method, made once."""
        if details.method not in self._handlers:
            self._handlers[details.method] = grpc.unary_unary_rpc_method_handler(self._pass(details.method))
        return self._handlers[details.method]

    def _pass(self, method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        call = job.unary(self._channel, method)

        async def handler(request: bytes, _: Any) -> bytes:
            answer: bytes = await call(request)
            return answer

        return handler


async def serve(settings: dict[str, Any]) -> None:
    """Serves until the process ends."""
    own = job.credentials(settings["credentials"])
    channel = job.channel(settings["upstream"], settings["upstream_name"], own)
    server = grpc.aio.server(options=job.limits())
    server.add_generic_rpc_handlers((PassThrough(channel),))
    server.add_secure_port(settings["address"], own.server_credentials())
    await server.start()
    job.write({"ready": True})
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(job.Inbox().read()))
