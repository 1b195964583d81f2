"""`isthmus.v1.DepartmentService` as the node serves it: thin, and for gateways alone."""

from collections.abc import Iterator, Sequence

import grpc

from isthmus.errors import Unimplemented
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


class DepartmentServicer(DepartmentServiceServicer):
    """The service.

    Args:
        datasets: what the manifest offers.
        fetcher: serves grants.
    """

    def __init__(self, datasets: Sequence[Dataset], fetcher: Fetcher) -> None:
        self._described = DescribeResponse(datasets=datasets)
        self._fetcher = fetcher

    def Describe(self, request: DescribeRequest, context: grpc.ServicerContext) -> DescribeResponse:
        """Returns the datasets of the manifest."""
        return self._described

    def Fetch(self, request: FetchRequest, context: grpc.ServicerContext) -> FetchResponse:
        """Serves a grant. Errors are those of `Fetcher.fetch`."""
        return self._fetcher.fetch(request.grant, caller=caller(context).identity)

    def StreamRows(
        self, request: StreamRowsRequest, context: grpc.ServicerContext
    ) -> Iterator[StreamRowsResponse]:
        """Refuses: this version serves no streams."""
        raise Unimplemented("DepartmentService.StreamRows")
