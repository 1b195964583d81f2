"""The catalogue: what departments offer."""

import uuid
from collections.abc import AsyncIterator, Iterator

from isthmus.client.calls import Call, Listing, path
from isthmus.client.transport import AsyncTransport, Transport
from isthmus.v1 import catalog_service_pb2 as pb
from isthmus.v1.catalog_service_pb2 import Dataset, Department

_SERVICE = "CatalogService"


def _publish(dataset: Dataset, etag: str) -> Call[Dataset]:
    request = pb.PublishDatasetRequest(dataset=dataset, request_id=str(uuid.uuid4()), etag=etag)
    return Call(path(_SERVICE, "PublishDataset"), request, lambda response: response.dataset)


def _retire(name: str, reason: str) -> Call[Dataset]:
    request = pb.RetireDatasetRequest(name=name, reason=reason)
    return Call(path(_SERVICE, "RetireDataset"), request, lambda response: response.dataset)


def get_dataset(name: str) -> Call[Dataset]:
    """The call of `Catalog.get`."""
    request = pb.GetDatasetRequest(name=name)
    return Call(path(_SERVICE, "GetDataset"), request, lambda response: response.dataset)


def _list(parent: str, show_retired: bool, page_size: int) -> Listing[Dataset]:
    request = pb.ListDatasetsRequest(parent=parent, show_retired=show_retired, page_size=page_size)
    return Listing(path(_SERVICE, "ListDatasets"), request, lambda response: response.datasets)


def _department(name: str) -> Call[Department]:
    request = pb.GetDepartmentRequest(name=name)
    return Call(path(_SERVICE, "GetDepartment"), request, lambda response: response.department)


def _departments(page_size: int) -> Listing[Department]:
    request = pb.ListDepartmentsRequest(page_size=page_size)
    return Listing(path(_SERVICE, "ListDepartments"), request, lambda response: response.departments)


class Catalog:
    """The catalogue. Every method raises `IsthmusError` when it is refused."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def publish(self, dataset: Dataset, *, etag: str = "") -> Dataset:
        """Publishes a dataset of the caller's department, or a new revision of it.

        Args:
            dataset: the entry; its output-only members are ignored.
            etag: of the revision to replace; EtagMismatch when it is no longer the current one.
        """
        return self._transport.run(_publish(dataset, etag))

    def retire(self, name: str, *, reason: str) -> Dataset:
        """Takes a dataset out of the catalogue; contracts over it stop being usable."""
        return self._transport.run(_retire(name, reason))

    def get(self, name: str) -> Dataset:
        """Returns `departments/{department}/datasets/{dataset}`. Raises NotFound."""
        return self._transport.run(get_dataset(name))

    def list(self, parent: str = "", *, show_retired: bool = False, page_size: int = 0) -> Iterator[Dataset]:
        """Yields the datasets of one department, or of all, by name."""
        return self._transport.pages(_list(parent, show_retired, page_size))

    def department(self, name: str) -> Department:
        """Returns `departments/{department}`. Raises NotFound."""
        return self._transport.run(_department(name))

    def departments(self, *, page_size: int = 0) -> Iterator[Department]:
        """Yields the departments, by name."""
        return self._transport.pages(_departments(page_size))


class AsyncCatalog:
    """`Catalog` with await."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def publish(self, dataset: Dataset, *, etag: str = "") -> Dataset:
        """As `Catalog.publish`."""
        return await self._transport.run(_publish(dataset, etag))

    async def retire(self, name: str, *, reason: str) -> Dataset:
        """As `Catalog.retire`."""
        return await self._transport.run(_retire(name, reason))

    async def get(self, name: str) -> Dataset:
        """As `Catalog.get`."""
        return await self._transport.run(get_dataset(name))

    def list(
        self, parent: str = "", *, show_retired: bool = False, page_size: int = 0
    ) -> AsyncIterator[Dataset]:
        """As `Catalog.list`."""
        return self._transport.pages(_list(parent, show_retired, page_size))

    async def department(self, name: str) -> Department:
        """As `Catalog.department`."""
        return await self._transport.run(_department(name))

    def departments(self, *, page_size: int = 0) -> AsyncIterator[Department]:
        """As `Catalog.departments`."""
        return self._transport.pages(_departments(page_size))
