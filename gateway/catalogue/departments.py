"""GetDepartment and ListDepartments: those the deployment names, and those that publish."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from gateway.state.calls import last_text
from gateway.state.datasets import count_by_department
from isthmus.errors import NotFound
from isthmus.names import DepartmentName
from isthmus.rpc.paging import next_page_token, page_size
from isthmus.v1.catalog_service_pb2 import Department, ListDepartmentsRequest, ListDepartmentsResponse


@dataclass(frozen=True, slots=True)
class KnownDepartment:
    """A department in the gateway's configuration: what a reader calls it, and whether it runs a node."""

    title: str
    has_node: bool = False


def get_department(conn: sa.Connection, known: Mapping[str, KnownDepartment], name: str) -> Department:
    """Returns one department.

    Raises:
        InvalidArgument: no `departments/{department}`.
        NotFound: it is neither configured nor has it ever published.
    """
    wanted = str(DepartmentName.parse(name))
    if (found := _all(conn, known).get(wanted)) is None:
        raise NotFound(wanted)
    return found


def list_departments(
    conn: sa.Connection, known: Mapping[str, KnownDepartment], request: ListDepartmentsRequest
) -> ListDepartmentsResponse:
    """Returns a page of departments by name.

    Raises:
        InvalidArgument: a bad page size or page token.
    """
    size, after = page_size(request.page_size), last_text(request)
    rest = [each for name, each in sorted(_all(conn, known).items()) if name > after]
    token = next_page_token(request, (rest[size - 1].name,)) if len(rest) > size else ""
    return ListDepartmentsResponse(departments=rest[:size], next_page_token=token)


def _all(conn: sa.Connection, known: Mapping[str, KnownDepartment]) -> dict[str, Department]:
    counts = count_by_department(conn)
    return {
        name: Department(
            name=name,
            title=known[name].title if name in known else "",
            dataset_count=counts.get(name, 0),
            provider=name in known and known[name].has_node,
        )
        for name in {*known, *counts}
    }
