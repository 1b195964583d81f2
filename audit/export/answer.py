"""ExportRecords: the export is recorded, and then handed over part by part."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from audit.export.parts import Part, parts, require_format
from audit.export.record import Export, record_export
from audit.export.token import resume_token, span_of
from audit.ledger import Ledger
from audit.search.find import Search
from isthmus.rpc import Caller
from isthmus.v1 import audit_service_pb2 as pb

MESSAGE_BYTES: Final = 1 << 20
Reader = Callable[[Caller], AbstractContextManager[sa.Connection]]


def export_records(
    ledger: Ledger, read: Reader, who: Caller, request: pb.ExportRecordsRequest, *, received: datetime
) -> Iterator[pb.ExportRecordsResponse]:
    """Yields the export; each message but those inside of a part says where to go on.

    Args:
        ledger: the ledger.
        read: opens a snapshot for a caller whose certificate was not denied.
        who: the caller, who gets its own part of the trail only.
        request: what is asked.
        received: when it was asked.

    Raises:
        InvalidArgument: the filter, format or token cannot be used.
        PermissionDenied: the certificate was denied, possibly in the middle.
        LedgerUnavailable: the export could not be recorded, so nothing was handed over.
    """
    export_format = request.format or pb.EXPORT_FORMAT_JSON_LINES
    require_format(export_format, resumed=bool(request.resume_token))
    conditions = Search(who.identity, request.filter).conditions()
    with read(who) as connection:
        span = span_of(request, size=ledger.head(connection).size)
    name = pb.ExportFormat.Name(export_format).removeprefix("EXPORT_FORMAT_")
    told = {"format": name, "first": span.next, "end": span.end}
    texts = {"filter": request.filter, "reason": request.reason}
    export = Export(caller=who, action="ExportRecords", texts=texts, told=told)
    record_export(ledger, export, received=received, deadline_s=None)
    log = ledger.verifier_key.name
    for part in parts(lambda: read(who), conditions, span, export_format=export_format, log=log):
        yield from _messages(part, "" if part.left is None else resume_token(request, part.left))


def _messages(part: Part, token: str) -> Iterator[pb.ExportRecordsResponse]:
    # Only the last of them goes on after the whole part: a token in the middle would lose records, or repeat them.
    starts = range(0, len(part.data) or 1, MESSAGE_BYTES)
    for start in starts:
        last = start == starts[-1]
        yield pb.ExportRecordsResponse(
            data=part.data[start : start + MESSAGE_BYTES],
            record_count=part.count if last else 0,
            resume_token=token if last else "",
        )
