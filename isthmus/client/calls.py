"""A call as a value: which method, which request, and what of the response its caller wants.

The functions that make these values are pure and shared by the two clients; a transport sends them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from google.protobuf import message_factory
from google.protobuf.message import Message

from isthmus.v1 import (
    audit_service_pb2,
    catalog_service_pb2,
    consent_service_pb2,
    contract_service_pb2,
    exchange_service_pb2,
)

T = TypeVar("T")

_FILES: Final = (
    catalog_service_pb2,
    contract_service_pb2,
    consent_service_pb2,
    exchange_service_pb2,
    audit_service_pb2,
)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A unary call; `read` takes what the caller wants from the response."""

    method: str
    request: Message
    read: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A paged call; `read` takes the entries of one page."""

    method: str
    request: Any
    read: Callable[[Any], Iterable[T]]

    def after(self, token: str) -> Any:
        """The request for the page that begins at `token`."""
        request = type(self.request)()
        request.CopyFrom(self.request)
        request.page_token = token
        return request


@dataclass(frozen=True, slots=True)
class Streaming:
    """A call that answers with a stream of responses."""

    method: str
    request: Message


def path(service: str, method: str) -> str:
    """The gRPC path of a method of `isthmus.v1`, such as `/isthmus.v1.ExchangeService/Query`."""
    return f"/isthmus.v1.{service}/{method}"


def response_reader(method: str) -> Callable[[bytes], Any]:
    """Returns what parses the responses of a method, found in the generated descriptors.

    Raises:
        KeyError: there is no such method.
    """
    service, _, name = method.rpartition("/")
    service_name = service.rpartition(".")[2]
    for file in _FILES:
        found = file.DESCRIPTOR.services_by_name.get(service_name)
        if found is not None:
            kind = message_factory.GetMessageClass(found.methods_by_name[name].output_type)
            return kind.FromString
    raise KeyError(method)
