"""CatalogService: the thin layer between gRPC and the catalogue."""

from collections.abc import Mapping

import grpc
import sqlalchemy as sa

from gateway.catalogue.departments import KnownDepartment, get_department, list_departments
from gateway.catalogue.entry import dataset_of
from gateway.catalogue.publish import publish
from gateway.catalogue.retire import retire
from gateway.state import datasets
from gateway.state.calls import call_of, last_text
from gateway.state.change import Call, Control
from isthmus.errors import NotFound
from isthmus.names import DatasetName, DepartmentName
from isthmus.rpc.paging import next_page_token, page_size
from isthmus.v1 import catalog_service_pb2 as pb
from isthmus.v1.catalog_service_pb2_grpc import CatalogServiceServicer


class CatalogService(CatalogServiceServicer):
    """Serves the catalogue.

    Args:
        control: runs the calls.
        departments: those the deployment knows, by `departments/{department}`; others appear once they publish.
    """

    def __init__(self, control: Control, departments: Mapping[str, KnownDepartment]) -> None:
        self._control = control
        self._departments = {str(DepartmentName.parse(name)): known for name, known in departments.items()}

    def PublishDataset(
        self, request: pb.PublishDatasetRequest, context: grpc.ServicerContext
    ) -> pb.PublishDatasetResponse:
        return publish(self._control, self._call(context, "PublishDataset"), request)

    def RetireDataset(
        self, request: pb.RetireDatasetRequest, context: grpc.ServicerContext
    ) -> pb.RetireDatasetResponse:
        return retire(self._control, self._call(context, "RetireDataset"), request)

    def GetDataset(
        self, request: pb.GetDatasetRequest, context: grpc.ServicerContext
    ) -> pb.GetDatasetResponse:
        name = str(DatasetName.parse(request.name))
        with self._control.read(self._call(context, "GetDataset")) as conn:
            row = datasets.get_dataset(conn, name)
        if row is None:
            raise NotFound(name)
        return pb.GetDatasetResponse(dataset=dataset_of(row))

    def ListDatasets(
        self, request: pb.ListDatasetsRequest, context: grpc.ServicerContext
    ) -> pb.ListDatasetsResponse:
        with self._control.read(self._call(context, "ListDatasets")) as conn:
            return list_datasets(conn, request)

    def GetDepartment(
        self, request: pb.GetDepartmentRequest, context: grpc.ServicerContext
    ) -> pb.GetDepartmentResponse:
        with self._control.read(self._call(context, "GetDepartment")) as conn:
            return pb.GetDepartmentResponse(department=get_department(conn, self._departments, request.name))

    def ListDepartments(
        self, request: pb.ListDepartmentsRequest, context: grpc.ServicerContext
    ) -> pb.ListDepartmentsResponse:
        with self._control.read(self._call(context, "ListDepartments")) as conn:
            return list_departments(conn, self._departments, request)

    def _call(self, context: grpc.ServicerContext, method: str) -> Call:
        return call_of(self._control, context, method)


def list_datasets(conn: sa.Connection, request: pb.ListDatasetsRequest) -> pb.ListDatasetsResponse:
    """Returns a page of the catalogue by name.

    Raises:
        InvalidArgument: a bad parent, page size or page token.
    """
    parent = str(DepartmentName.parse(request.parent, field="parent")) if request.parent else ""
    size = page_size(request.page_size)
    rows = datasets.page_of_datasets(
        conn,
        department=parent,
        show_retired=request.show_retired,
        after=last_text(request),
        limit=size + 1,
    )
    token = next_page_token(request, (rows[size - 1].name,)) if len(rows) > size else ""
    return pb.ListDatasetsResponse(datasets=map(dataset_of, rows[:size]), next_page_token=token)
