"""AuditService: the trail, for those who may see it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import grpc
import sqlalchemy as sa

from audit.evidence.answer import Evidence
from audit.export.answer import export_records
from audit.ledger import Head, Ledger, LedgerDamaged
from audit.ledger.tree import newest_checkpoint
from audit.reports.anomalies.limits import AnomalyLimits
from audit.reports.anomalies.report import report_anomalies
from audit.reports.contract import report_contract
from audit.reports.department import report_department
from audit.reports.desk import Ask, Desk
from audit.reports.subject import report_subject
from audit.reports.words import to_message
from audit.search.access import visible_to
from audit.search.count import count_records
from audit.search.find import Finder, Search
from audit.search.lookup import Lookup, SubjectIndex, record_lookup
from audit.search.query import (
    Condition,
    Found,
    is_denied,
    oldest_first,
    one_of_exchange,
)
from audit.tlog.errors import TileError
from audit.tlog.merkle import hash_leaf
from audit.tlog.proof import TlogProof
from audit.witness.stored import cosigned_note, newest_cosigned
from isthmus.errors import InvalidArgument, NotFound, PermissionDenied, Unimplemented
from isthmus.names import ExchangeName
from isthmus.reasons import Reason
from isthmus.rpc import Caller, caller
from isthmus.rpc.paging import cursor_of, next_page_token, page_size
from isthmus.v1 import audit_service_pb2 as pb
from isthmus.v1.audit_service_pb2_grpc import AuditServiceServicer

_RECORDS: Final = "records/"


class AuditService(AuditServiceServicer):
    """Serves the records of a ledger.

    Args:
        ledger: the ledger.
        subjects: finds the tokens of a person.
        clock: returns the present time, UTC-aware.
        finder: finds records; by reading the ledger unless given.
        evidence: makes bundles of evidence; none are made without it.
        anomalies: from where on something is worth a look.
        required_witnesses: how many cosignatures a checkpoint should have to be shown as cosigned.
    """

    def __init__(
        self,
        ledger: Ledger,
        subjects: SubjectIndex,
        *,
        clock: Callable[[], datetime],
        finder: Finder | None = None,
        evidence: Evidence | None = None,
        anomalies: AnomalyLimits | None = None,
        required_witnesses: int = 1,
    ) -> None:
        self._ledger = ledger
        self._subjects = subjects
        self._clock = clock
        self._finder = finder or Finder(None)
        self._anomalies = anomalies or AnomalyLimits()
        self._desk = Desk(ledger=ledger, read=self._read, clock=clock, finder=self._finder)
        self._evidence = evidence
        self._required = required_witnesses

    def ListRecords(
        self, request: pb.ListRecordsRequest, context: grpc.ServicerContext
    ) -> pb.ListRecordsResponse:
        """Lists records, newest first; the search is recorded before they are shown."""
        who, received = caller(context), self._clock()
        search, token = self._search(who, request)
        before, size = _cursor(request, parts=1), page_size(request.page_size)
        with self._read(who) as connection:
            page = self._finder.page(connection, search, before=before[0] if before else None, limit=size)
        response = pb.ListRecordsResponse(records=[to_message(each.index, each.leaf) for each in page.found])
        if page.next is not None:
            response.next_page_token = next_page_token(request, (page.next,))
        texts = {"filter": request.filter, "reason": request.reason}
        self._record(who, "ListRecords", received, texts=texts, token=token, found=len(page.found))
        return response

    def CountRecords(
        self, request: pb.CountRecordsRequest, context: grpc.ServicerContext
    ) -> pb.CountRecordsResponse:
        """Counts records by what they hold; the count is recorded before it is shown."""
        who, received = caller(context), self._clock()
        search, token = self._search(who, request)
        limit, deadline_s = page_size(request.page_size), self._remaining(who)
        with self._read(who) as connection:
            counts = count_records(
                self._finder, connection, search, by=request.by, limit=limit, deadline_s=deadline_s
            )
        texts = {"filter": request.filter, "by": ",".join(request.by), "reason": request.reason}
        self._record(who, "CountRecords", received, texts=texts, token=token, found=counts.total)
        lines = [pb.RecordCount(values=values, count=count) for values, count in counts.lines]
        return pb.CountRecordsResponse(counts=lines, total=counts.total, truncated=counts.truncated)

    def GetRecord(self, request: pb.GetRecordRequest, context: grpc.ServicerContext) -> pb.GetRecordResponse:
        """Returns one record."""
        who = caller(context)
        with self._read(who) as connection:
            found = _named(connection, request.name, visible_to(who.identity))
        return pb.GetRecordResponse(record=to_message(found.index, found.leaf))

    def GetProof(self, request: pb.GetProofRequest, context: grpc.ServicerContext) -> pb.GetProofResponse:
        """Returns the proof that a record is in the log, to be checked by anybody with the log's public key."""
        who = caller(context)
        with self._read(who) as connection:
            found = _named(connection, request.name, visible_to(who.identity))
            # One that witnesses cosigned proves more than one that is newer.
            head = newest_cosigned(
                connection, beyond=found.index, required=self._required
            ) or self._ledger.head(connection)
            hashes = self._ledger.tree(connection).inclusion_proof(found.index, head.size)
        proof = TlogProof(found.index, tuple(hashes), head.note)
        return pb.GetProofResponse(
            index=found.index, leaf_hash=hash_leaf(found.leaf), proof=proof.encode().decode()
        )

    def GetCheckpoint(
        self, request: pb.GetCheckpointRequest, context: grpc.ServicerContext
    ) -> pb.GetCheckpointResponse:
        """Returns the newest signed checkpoint and the log's public key."""
        with self._read(caller(context)) as connection:
            note = cosigned_note(connection, self._ledger.head(connection))
            cosigned = newest_cosigned(connection, required=self._required)
        return pb.GetCheckpointResponse(
            checkpoint=note.decode(),
            verifier_key=self._ledger.verifier_key.encode(),
            cosigned_checkpoint=cosigned.note.decode() if cosigned is not None else "",
        )

    def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, context: grpc.ServicerContext
    ) -> pb.GetConsistencyProofResponse:
        """Returns the proof that the log of one checkpoint is the beginning of another's."""
        with self._read(caller(context)) as connection:
            head = self._newer(connection, request.new_size)
            if not 0 < request.old_size <= head.size:
                raise InvalidArgument(
                    "old_size", f"must be 1 to {head.size}: nothing can be proven from the empty log"
                )
            hashes = self._ledger.tree(connection).consistency_proof(request.old_size, head.size)
        return pb.GetConsistencyProofResponse(hashes=hashes, checkpoint=head.note.decode())

    def ExportRecords(
        self, request: pb.ExportRecordsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ExportRecordsResponse]:
        """Exports records as a file, in parts; the export is recorded before its first byte leaves."""
        received = self._clock()
        return export_records(self._ledger, self._read, caller(context), request, received=received)

    def ExportEvidence(
        self, request: pb.ExportEvidenceRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ExportEvidenceResponse]:
        """Exports the evidence of a case as one file; the export is recorded before its first byte leaves."""
        if self._evidence is None:
            raise Unimplemented("ExportEvidence")
        received = self._clock()
        return self._evidence.export(self._read, caller(context), request, received=received)

    def ReportSubjectAccess(
        self, request: pb.ReportSubjectAccessRequest, context: grpc.ServicerContext
    ) -> pb.ReportSubjectAccessResponse:
        """Reports who looked at one person, or tried to, oldest first; searches of the trail included."""
        ask = self._ask(context, "ReportSubjectAccess", request.reason)
        return report_subject(self._desk, self._subjects, ask, request)

    def ReportContract(
        self, request: pb.ReportContractRequest, context: grpc.ServicerContext
    ) -> pb.ReportContractResponse:
        """Reports everything that was done under a contract, oldest first."""
        return report_contract(self._desk, self._ask(context, "ReportContract", request.reason), request)

    def ReportDepartmentUse(
        self, request: pb.ReportDepartmentUseRequest, context: grpc.ServicerContext
    ) -> pb.ReportDepartmentUseResponse:
        """Reports how one department used the data of the others."""
        return report_department(
            self._desk, self._ask(context, "ReportDepartmentUse", request.reason), request
        )

    def ReportAnomalies(
        self, request: pb.ReportAnomaliesRequest, context: grpc.ServicerContext
    ) -> pb.ReportAnomaliesResponse:
        """Reports what is worth a look, the most unusual first."""
        ask = self._ask(context, "ReportAnomalies", request.reason)
        return report_anomalies(self._desk, self._anomalies, ask, request)

    def _ask(self, context: grpc.ServicerContext, action: str, reason: str) -> Ask:
        return Ask(who=caller(context), action=action, reason=reason, received=self._clock())

    def _search(
        self, who: Caller, request: pb.ListRecordsRequest | pb.CountRecordsRequest
    ) -> tuple[Search, str]:
        """What a request looks for, and the current token of the person that it is about, if any."""
        if not request.HasField("subject"):
            return Search(who.identity, request.filter), ""
        if not request.reason.strip():
            raise InvalidArgument("reason", "is required with subject: say why you search for this person")
        token, tokens = self._subjects.find(request.subject)
        return Search(who.identity, request.filter, tokens), token

    @contextmanager
    def _read(self, who: Caller) -> Iterator[sa.Connection]:
        try:
            with self._ledger.read(deadline_s=self._remaining(who)) as connection:
                if is_denied(connection, who.thumbprint):
                    raise PermissionDenied(
                        Reason.CREDENTIAL_DENIED,
                        f"the certificate {who.thumbprint[:16]}… was denied; {who.identity.resource} needs a new one",
                    )
                yield connection
        except TileError as error:
            raise LedgerDamaged(f"its tree cannot be read: {error}") from error

    def _record(
        self, who: Caller, action: str, received: datetime, *, texts: dict[str, str], token: str, found: int
    ) -> None:
        lookup = Lookup(caller=who, action=action, texts=texts, subject_token=token, found=found)
        record_lookup(self._ledger, lookup, received=received, deadline_s=self._remaining(who))

    def _newer(self, connection: sa.Connection, size: int) -> Head:
        if size == 0:
            return self._ledger.head(connection)
        head = newest_checkpoint(connection, upto=size)
        if head is None or head.size != size:
            raise InvalidArgument(
                "new_size", "is not the size of a checkpoint of this log; 0 means the newest"
            )
        return head

    def _remaining(self, who: Caller) -> float | None:
        return None if who.deadline is None else max(0.0, (who.deadline - self._clock()).total_seconds())


def _named(connection: sa.Connection, name: str, conditions: list[Condition]) -> Found:
    if name.startswith(_RECORDS):
        number = name.removeprefix(_RECORDS)
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            raise InvalidArgument("name", "must have the form records/{index} or exchanges/{uuid}")
        position = int(number)
        rows = oldest_first(connection, conditions, between=(position, position + 1), limit=1)
        found = next(rows, None)
    else:
        found = one_of_exchange(connection, conditions, str(ExchangeName.parse(name)))
    if found is None:
        raise NotFound(name)
    return found


def _cursor(request: pb.ListRecordsRequest, *, parts: int) -> tuple[int, ...] | None:
    cursor = cursor_of(request)
    if cursor is None:
        return None
    numbers = tuple(part for part in cursor if isinstance(part, int) and part >= 0)
    if len(numbers) != parts or len(cursor) != parts:
        raise InvalidArgument("page_token", "is not a token that this service gave; begin again without one")
    return numbers
