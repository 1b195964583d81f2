"""What stands behind the peers that are measured with a Query: it gives one fixed answer to every call.

The answer is one that the gateway itself gave to a Query, byte for byte, so that every peer carries the same.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from tests.bench import job


class FixedAnswer(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in its stubs only
    """Answers every unary call with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._handler = grpc.unary_unary_rpc_method_handler(self._give)

    def service(self, details: grpc.HandlerCallDetails) -> job.Handler:
        """The same handler for every method."""
        return self._handler

    async def _give(self, request: bytes, _: Any) -> bytes:
        return self._answer


async def serve(settings: dict[str, Any]) -> None:
    """Serves until the process ends."""
    own = job.credentials(settings["credentials"])
    server = grpc.aio.server(options=job.limits())
    server.add_generic_rpc_handlers((FixedAnswer(bytes.fromhex(settings["answer"])),))
    server.add_secure_port(settings["address"], own.server_credentials())
    await server.start()
    job.write({"ready": True})
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(job.Inbox().read()))
