"""GetContract, ListContracts and ListContractEvents."""

from collections.abc import Iterator

import sqlalchemy as sa

from gateway.contracts.access import may_see
from gateway.contracts.states import effective_state
from gateway.contracts.view import contract_of, contracts_of, event_of
from gateway.rulebook import Rulebook
from gateway.state.calls import last_number, last_text
from gateway.state.change import Call
from gateway.state.contract_events import page_of_events
from gateway.state.contracts import ContractRow, get_newest, get_version, page_of_contracts
from gateway.state.in_force import contracts_in_force
from isthmus.errors import NotFound
from isthmus.identity import Role
from isthmus.names import ContractName, DepartmentName
from isthmus.rpc.paging import next_page_token, page_size
from isthmus.v1 import contract_service_pb2 as pb


def get_contract(
    conn: sa.Connection, call: Call, request: pb.GetContractRequest, rulebook: Rulebook
) -> pb.GetContractResponse:
    """Returns one version, or the newest one.

    Raises:
        NotFound: there is none, or the caller may not see it.
    """
    name = ContractName.parse(request.name)
    row = _find(conn, call, name)
    if row is None or not may_see(call, row):
        raise NotFound(str(name))
    return pb.GetContractResponse(contract=contract_of(conn, row, call.received, rulebook))


def _find(conn: sa.Connection, call: Call, name: ContractName) -> ContractRow | None:
    if name.version is not None:
        return get_version(conn, str(name.base), name.version)
    if call.identity.role is Role.PORTAL:
        # A person is asked about what is in force, not about what is being negotiated.
        return contracts_in_force(conn, (str(name),), call.received).get(str(name))
    return get_newest(conn, str(name))


def list_contracts(
    conn: sa.Connection, call: Call, request: pb.ListContractsRequest, rulebook: Rulebook
) -> pb.ListContractsResponse:
    """Returns a page of the newest versions that the caller may see, by name.

    Raises:
        InvalidArgument: a bad department, page size or page token.
    """
    size = page_size(request.page_size)
    found: list[ContractRow] = []
    for row in _matching(conn, call, request, size + 1):
        found.append(row)
        if len(found) > size:
            break
    token = next_page_token(request, (found[size - 1].name,)) if len(found) > size else ""
    return pb.ListContractsResponse(
        contracts=contracts_of(conn, found[:size], call.received, rulebook), next_page_token=token
    )


def _matching(
    conn: sa.Connection, call: Call, request: pb.ListContractsRequest, batch: int
) -> Iterator[ContractRow]:
    """Yields matching rows by name. States are those of the clock, so they cannot be a condition in SQL."""
    after = last_text(request)
    provider, consumer = (
        str(DepartmentName.parse(text, field=field)) if (text := getattr(request, field)) else ""
        for field in ("provider", "consumer")
    )
    states = {pb.ContractState.Name(state).removeprefix("CONTRACT_STATE_") for state in request.states}
    while True:
        rows = page_of_contracts(
            conn,
            visible_to=call.department,
            provider=provider,
            consumer=consumer,
            after=after,
            limit=batch,
        )
        for row in rows:
            if may_see(call, row) and (not states or effective_state(row, call.received) in states):
                yield row
        if len(rows) < batch:
            return
        after = rows[-1].name


def list_events(
    conn: sa.Connection, call: Call, request: pb.ListContractEventsRequest
) -> pb.ListContractEventsResponse:
    """Returns a page of a contract's events, oldest first.

    What the clock brought about appears once something else happens to the version, or it is written for another
    reason; `GetContract` always says the state of the moment.

    Raises:
        NotFound: there is no such contract, or the caller may not see it.
        InvalidArgument: a bad page size or page token.
    """
    name = str(ContractName.parse(request.name, versioned=False))
    newest = get_newest(conn, name)
    if newest is None or not may_see(call, newest):
        raise NotFound(name)
    size = page_size(request.page_size)
    rows = page_of_events(conn, name, after=last_number(request), limit=size + 1)
    token = next_page_token(request, (rows[size - 1].seq,)) if len(rows) > size else ""
    return pb.ListContractEventsResponse(events=map(event_of, rows[:size]), next_page_token=token)
