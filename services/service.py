"""`isthmus.v1.DepartmentService` as the node serves it: thin, and for gateways alone."""

from collections.abc import Iterator, Sequence

import grpc

from isthmus.rpc import caller
from isthmus.v1.catalog_service_pb2 import Dataset
from isthmus.v1.department_service_pb2 import (
    DescribeRequest,
    DescribeResponse,
    FetchRequest,
    FetchResponse,
    StreamRowsRequest,
    StreamRowsResponse,
)
from isthmus.v1.department_service_pb2_grpc import DepartmentServiceServicer
from services.fetch import Fetcher
from services.stream import Streamer


class DepartmentServicer(DepartmentServiceServicer):
    """The service.

    Args:
        datasets: what the manifest offers.
        fetcher: serves grants.
        streamer: serves grants of streams.
    """

    def __init__(self, datasets: Sequence[Dataset], fetcher: Fetcher, streamer: Streamer) -> None:
        self._described = DescribeResponse(datasets=datasets)
        self._fetcher = fetcher
        self._streamer = streamer

    def Describe(self, request: DescribeRequest, context: grpc.ServicerContext) -> DescribeResponse:
        """Returns the datasets of the manifest."""
        return self._described

    def Fetch(self, request: FetchRequest, context: grpc.ServicerContext) -> FetchResponse:
        """Serves a grant. Errors are those of `Fetcher.fetch`."""
        who = caller(context)
        return self._fetcher.fetch(request.grant, caller=who.identity, trace=who.trace)

    def StreamRows(
        self, request: StreamRowsRequest, context: grpc.ServicerContext
    ) -> Iterator[StreamRowsResponse]:
        """Serves a granted stream. Errors are those of `Streamer.stream`."""
        who = caller(context)
        yield from self._streamer.stream(
            request.grant, caller=who.identity, wanted=context.is_active, trace=who.trace
        )
