"""ReportSubjectAccess: who looked at one person, or tried to."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from audit.batch.lines import Line
from audit.batch.view import lines_about
from audit.ledger.schema import records
from audit.record import AccessRecord, Kind
from audit.reports.desk import Ask, Desk, page_of, record_report, span_left
from audit.reports.words import in_words, to_message
from audit.search.access import visible_to
from audit.search.lookup import SubjectIndex
from audit.search.query import Found, of_subject, oldest_first
from isthmus.rpc.paging import next_page_token, page_size
from isthmus.v1 import audit_service_pb2 as pb

_LOOKS = records.c.kind.in_([Kind.DECISION.value, Kind.LOOKUP.value, Kind.EXPORT.value])


def report_subject(
    desk: Desk, subjects: SubjectIndex, ask: Ask, request: pb.ReportSubjectAccessRequest
) -> pb.ReportSubjectAccessResponse:
    """Returns a page of the report, oldest first; searches of the trail included.

    Raises:
        InvalidArgument: the person cannot be looked for, or the token is none.
        LedgerUnavailable: the report could not be recorded.
    """
    token, tokens = subjects.find(request.subject)
    conditions = [*visible_to(ask.who.identity), of_subject(tokens), _LOOKS]
    span, size = span_left(request), page_size(request.page_size)
    with desk.read(ask.who) as connection:
        first, end = span or (0, desk.ledger.head(connection).size)
        found = oldest_first(connection, conditions, between=(first, end), limit=size + 1)
        page, more = page_of(found, size)
        lines = {each.index: _own_lines(connection, each, tokens) for each in page}
    response = pb.ReportSubjectAccessResponse(accesses=[_access(each, lines[each.index]) for each in page])
    if more:
        response.next_page_token = next_page_token(request, (page[-1].index + 1, end))
    record_report(desk, ask, found=len(page), token=token)
    return response


def _own_lines(connection: sa.Connection, found: Found, tokens: Collection[str]) -> list[Line]:
    """What a batch came to for the person; empty for any other record."""
    if b'"subjects_root":' not in found.leaf:
        return []
    return lines_about(connection, found.index, tokens)


def _access(found: Found, lines: Sequence[Line]) -> pb.SubjectAccess:
    record = AccessRecord.parse(found.leaf)
    return pb.SubjectAccess(record=to_message(found.index, found.leaf), summary=in_words(record, lines))
