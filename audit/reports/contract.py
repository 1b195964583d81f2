"""ReportContract: everything that was done under a contract, in time order."""

import heapq
from collections.abc import Iterator
from itertools import islice
from typing import Final

import sqlalchemy as sa

from audit.ledger.schema import is_decision, records
from audit.record import AccessRecord, Kind
from audit.reports.deeds import deed_in_words
from audit.reports.desk import Ask, Desk, page_of, record_report, span_left
from audit.reports.words import to_message
from audit.search.access import visible_to
from audit.search.count import count_records
from audit.search.find import Search
from audit.search.query import Condition, Found, oldest_first
from isthmus.errors import NotFound
from isthmus.identity import Identity
from isthmus.names import ContractName
from isthmus.rpc.paging import next_page_token, page_size
from isthmus.v1 import audit_service_pb2 as pb

COUNTS: Final = 200
"""How many lines of counts stand on the first page."""
_BY: Final = ("decision", "purpose", "month")


def report_contract(desk: Desk, ask: Ask, request: pb.ReportContractRequest) -> pb.ReportContractResponse:
    """Returns a page of the report, oldest first; the first also counts the exchanges.

    Raises:
        InvalidArgument: the name or the token is none.
        NotFound: no record of the contract that the caller may see; that it was asked for is recorded all the same.
        DeadlineExceeded: the exchanges could not be counted in time.
        LedgerUnavailable: the report could not be recorded.
    """
    name = ContractName.parse(request.contract, field="contract")
    span, size = span_left(request), page_size(request.page_size)
    response = pb.ReportContractResponse()
    with desk.read(ask.who) as connection:
        first, end = span or (0, desk.ledger.head(connection).size)
        found = _deeds(connection, ask.who.identity, name, between=(first, end), limit=size + 1)
        page, more = page_of(found, size)
        if span is None and page:
            response.counts.extend(_counts(desk, ask, connection, name, end))
    response.deeds.extend(_deed(each) for each in page)
    if more:
        response.next_page_token = next_page_token(request, (page[-1].index + 1, end))
    record_report(desk, ask, found=len(page), resource=str(name))
    if span is None and not page:
        raise NotFound(str(name))
    return response


def _deeds(
    connection: sa.Connection, identity: Identity, name: ContractName, *, between: tuple[int, int], limit: int
) -> Iterator[Found]:
    """The records, oldest first. Two queries, each in the order of its own index, merged: one of both would be sorted."""
    seen = visible_to(identity)
    found = (
        oldest_first(connection, [*seen, condition], between=between, limit=limit)
        for condition in (_under(name), _refused(name))
    )
    return islice(heapq.merge(*found, key=lambda each: each.index), limit)


def _under(name: ContractName) -> Condition:
    same = records.c.contract == str(name.base)
    return same if name.version is None else sa.and_(same, records.c.version == name.version)


def _refused(name: ContractName) -> Condition:
    """Control calls that were refused: they name the contract as what was called about, and nothing else of it."""
    resource, base = records.c.resource, str(name.base)
    # "A" follows "@": these are the versions of the contract, found by the index.
    versions = sa.and_(resource >= f"{base}@", resource < f"{base}A")
    same = resource == str(name) if name.version is not None else sa.or_(resource == base, versions)
    return sa.and_(~is_decision, same, records.c.kind == Kind.CONTROL.value, records.c.contract == "")


def _counts(
    desk: Desk, ask: Ask, connection: sa.Connection, name: ContractName, end: int
) -> list[pb.RecordCount]:
    search = Search(ask.who.identity, f'contract = "{name}" AND kind = DECISION AND index < {end}')
    left = ask.remaining(desk.clock())
    counts = count_records(desk.finder, connection, search, by=_BY, limit=COUNTS, deadline_s=left)
    return [pb.RecordCount(values=values, count=count) for values, count in counts.lines]


def _deed(found: Found) -> pb.Deed:
    record = AccessRecord.parse(found.leaf)
    return pb.Deed(record=to_message(found.index, found.leaf), summary=deed_in_words(record))
