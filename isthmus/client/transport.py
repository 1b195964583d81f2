"""Sends calls over one channel and turns every failure into an `IsthmusError`; once blocking, once with await."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio

from isthmus.client.calls import Call, Listing, Streaming, response_reader
from isthmus.client.connection import Target
from isthmus.client.traces import trace_metadata
from isthmus.status import from_rpc_error

T = TypeVar("T")


def _serialise(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


@dataclass(slots=True)
class Transport:
    """The blocking transport; safe to use from many threads."""

    channel: grpc.Channel
    target: Target
    _stubs: dict[str, Any] = field(default_factory=dict)

    def run(self, call: Call[T], *, reader: Callable[[bytes], Any] | None = None) -> T:
        """Sends a unary call; `reader` takes the response instead of its message type.

        Raises:
            IsthmusError: it was refused or failed.
        """
        stub = self._stub(call.method, self.channel.unary_unary, reader)
        try:
            return call.read(
                stub(call.request, timeout=self.target.seconds(stream=False), metadata=trace_metadata())
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def pages(self, listing: Listing[T]) -> Iterator[T]:
        """Yields the entries of every page, asking for the next page when it is needed."""
        request = listing.request
        while True:
            response = self.run(Call(listing.method, request, lambda whole: whole))
            yield from listing.read(response)
            if not response.next_page_token:
                return
            request = listing.after(response.next_page_token)

    def stream(
        self, call: Streaming, *, reader: Callable[[bytes], Any] | None = None
    ) -> Generator[Any, None, None]:
        """Yields the responses; leaving the iteration early cancels the call. `reader` as for `run`.

        Raises:
            IsthmusError: it was refused or failed, possibly after some responses.
        """
        stub = self._stub(call.method, self.channel.unary_stream, reader)
        responses = stub(call.request, timeout=self.target.seconds(stream=True), metadata=trace_metadata())
        try:
            yield from responses
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            responses.cancel()

    def _stub(self, method: str, make: Any, reader: Callable[[bytes], Any] | None) -> Any:
        stub = self._stubs.get(method)
        if stub is None:
            deserializer = reader or response_reader(method)
            stub = make(method, request_serializer=_serialise, response_deserializer=deserializer)
            self._stubs[method] = stub
        return stub


@dataclass(slots=True)
class AsyncTransport:
    """The transport for asyncio; it belongs to the loop that made it."""

    channel: grpc.aio.Channel
    target: Target
    _stubs: dict[str, Any] = field(default_factory=dict)

    async def run(self, call: Call[T], *, reader: Callable[[bytes], Any] | None = None) -> T:
        """As `Transport.run`."""
        stub = self._stub(call.method, self.channel.unary_unary, reader)
        try:
            return call.read(
                await stub(call.request, timeout=self.target.seconds(stream=False), metadata=trace_metadata())
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    async def pages(self, listing: Listing[T]) -> AsyncIterator[T]:
        """As `Transport.pages`."""
        request = listing.request
        while True:
            response = await self.run(Call(listing.method, request, lambda whole: whole))
            for entry in listing.read(response):
                yield entry
            if not response.next_page_token:
                return
            request = listing.after(response.next_page_token)

    async def stream(
        self, call: Streaming, *, reader: Callable[[bytes], Any] | None = None
    ) -> AsyncGenerator[Any, None]:
        """As `Transport.stream`."""
        stub = self._stub(call.method, self.channel.unary_stream, reader)
        responses = stub(call.request, timeout=self.target.seconds(stream=True), metadata=trace_metadata())
        try:
            async for response in responses:
                yield response
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            responses.cancel()

    def _stub(self, method: str, make: Any, reader: Callable[[bytes], Any] | None) -> Any:
        stub = self._stubs.get(method)
        if stub is None:
            deserializer = reader or response_reader(method)
            stub = make(method, request_serializer=_serialise, response_deserializer=deserializer)
            self._stubs[method] = stub
        return stub
