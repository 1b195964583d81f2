"""The audit trail: searching, proving, exporting and reporting. Served by the audit service, not the gateway."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime

from isthmus.client.calls import Call, Listing, Streaming, path
from isthmus.client.transport import AsyncTransport, Transport
from isthmus.client.values import SubjectLike, to_subject
from isthmus.errors import InvalidArgument
from isthmus.v1 import audit_service_pb2 as pb
from isthmus.v1.audit_service_pb2 import (
    CountRecordsResponse,
    ExportEvidenceResponse,
    ExportRecordsResponse,
    GetCheckpointResponse,
    GetConsistencyProofResponse,
    GetProofResponse,
    Record,
    ReportAnomaliesResponse,
    ReportContractResponse,
    ReportDepartmentUseResponse,
    SubjectAccess,
)

_SERVICE = "AuditService"


def _records(filter_: str, subject: SubjectLike | None, reason: str, page_size: int) -> Listing[Record]:
    request = pb.ListRecordsRequest(filter=filter_, reason=reason, page_size=page_size)
    if subject is not None:
        request.subject.CopyFrom(to_subject(subject))
    return Listing(path(_SERVICE, "ListRecords"), request, lambda response: response.records)


def _count(
    filter_: str, by: Sequence[str], subject: SubjectLike | None, reason: str, page_size: int
) -> Call[CountRecordsResponse]:
    request = pb.CountRecordsRequest(filter=filter_, by=by, reason=reason, page_size=page_size)
    if subject is not None:
        request.subject.CopyFrom(to_subject(subject))
    return Call(path(_SERVICE, "CountRecords"), request, lambda response: response)


def _record(name: str) -> Call[Record]:
    return Call(path(_SERVICE, "GetRecord"), pb.GetRecordRequest(name=name), lambda response: response.record)


def _proof(name: str) -> Call[GetProofResponse]:
    return Call(path(_SERVICE, "GetProof"), pb.GetProofRequest(name=name), lambda response: response)


def _checkpoint() -> Call[GetCheckpointResponse]:
    return Call(path(_SERVICE, "GetCheckpoint"), pb.GetCheckpointRequest(), lambda response: response)


def _consistency(old_size: int, new_size: int) -> Call[GetConsistencyProofResponse]:
    request = pb.GetConsistencyProofRequest(old_size=old_size, new_size=new_size)
    return Call(path(_SERVICE, "GetConsistencyProof"), request, lambda response: response)


def _export(filter_: str, reason: str, export_format: str, resume_token: str) -> Streaming:
    name = f"EXPORT_FORMAT_{export_format.upper().replace('-', '_')}"
    if name not in pb.ExportFormat.keys():  # noqa: SIM118 - an enum wrapper is no dictionary
        raise InvalidArgument("format", "must be json-lines, csv, parquet or ocsf")
    number = pb.ExportFormat.Value(name)
    request = pb.ExportRecordsRequest(filter=filter_, reason=reason, format=number, resume_token=resume_token)
    return Streaming(path(_SERVICE, "ExportRecords"), request)


def _evidence(filter_: str, subject: SubjectLike | None, reason: str) -> Streaming:
    request = pb.ExportEvidenceRequest(filter=filter_, reason=reason)
    if subject is not None:
        request.subject.CopyFrom(to_subject(subject))
    return Streaming(path(_SERVICE, "ExportEvidence"), request)


def _accesses(subject: SubjectLike, reason: str, page_size: int) -> Listing[SubjectAccess]:
    request = pb.ReportSubjectAccessRequest(subject=to_subject(subject), reason=reason, page_size=page_size)
    return Listing(path(_SERVICE, "ReportSubjectAccess"), request, lambda response: response.accesses)


def _contract_report(contract: str, reason: str, page_size: int) -> Listing[ReportContractResponse]:
    request = pb.ReportContractRequest(contract=contract, reason=reason, page_size=page_size)
    return Listing(path(_SERVICE, "ReportContract"), request, lambda response: [response])


def _department_use(
    department: str, reason: str, since: datetime | None, until: datetime | None
) -> Call[ReportDepartmentUseResponse]:
    request = pb.ReportDepartmentUseRequest(department=department, reason=reason)
    _set_period(request, since, until)
    return Call(path(_SERVICE, "ReportDepartmentUse"), request, lambda response: response)


def _anomalies(
    reason: str, since: datetime | None, until: datetime | None, kinds: Sequence[str]
) -> Call[ReportAnomaliesResponse]:
    names = [f"ANOMALY_KIND_{each.upper().replace('-', '_')}" for each in kinds]
    if set(names) - set(pb.AnomalyKind.keys()[1:]):
        known = ", ".join(_word(each) for each in pb.AnomalyKind.keys()[1:])
        raise InvalidArgument("kinds", f"must be among {known}")
    request = pb.ReportAnomaliesRequest(reason=reason, kinds=[pb.AnomalyKind.Value(each) for each in names])
    _set_period(request, since, until)
    return Call(path(_SERVICE, "ReportAnomalies"), request, lambda response: response)


def _word(name: str) -> str:
    return name.removeprefix("ANOMALY_KIND_").lower().replace("_", "-")


def _set_period(
    request: pb.ReportDepartmentUseRequest | pb.ReportAnomaliesRequest,
    since: datetime | None,
    until: datetime | None,
) -> None:
    for name, moment, field in (("since", since, request.since), ("until", until, request.until)):
        if moment is not None:
            if moment.tzinfo is None:
                raise InvalidArgument(name, "must be a time with a zone")
            field.FromDatetime(moment)


class Audit:
    """The audit trail. Every method raises `IsthmusError` when it is refused.

    `filter_` is an AIP-160 filter such as `decision = DENY AND provider = "departments/a"`. Searches, exports and
    reports are themselves recorded, with the `reason` (查询事由) that is given.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def records(
        self, filter_: str = "", *, subject: SubjectLike | None = None, reason: str = "", page_size: int = 0
    ) -> Iterator[Record]:
        """Yields records, newest first; with `subject` only those about it, and then `reason` is required."""
        return self._transport.pages(_records(filter_, subject, reason, page_size))

    def count(
        self,
        filter_: str = "",
        *,
        by: Sequence[str] = (),
        subject: SubjectLike | None = None,
        reason: str = "",
        page_size: int = 0,
    ) -> CountRecordsResponse:
        """Returns how many records there are by what they hold, the most frequent first.

        Args:
            filter_: which records.
            by: at most three of what a filter may name, or `hour`, `day` and `month`; nothing counts all.
            subject: only records about this person; then `reason` is required.
            reason: why; recorded.
            page_size: at most so many lines; 0 means 50.
        """
        return self._transport.run(_count(filter_, by, subject, reason, page_size))

    def record(self, name: str) -> Record:
        """Returns `exchanges/{uuid}` or `records/{index}`. Raises NotFound."""
        return self._transport.run(_record(name))

    def proof(self, name: str) -> GetProofResponse:
        """Returns the proof that a record is in the log; verify it offline, the server may lie."""
        return self._transport.run(_proof(name))

    def checkpoint(self) -> GetCheckpointResponse:
        """Returns the newest signed checkpoint."""
        return self._transport.run(_checkpoint())

    def consistency(self, old_size: int, new_size: int = 0) -> GetConsistencyProofResponse:
        """Returns the proof that the checkpoint of `new_size` (0: the newest) extends that of `old_size`."""
        return self._transport.run(_consistency(old_size, new_size))

    def export(
        self, filter_: str = "", *, reason: str, export_format: str = "json-lines", resume_token: str = ""
    ) -> Iterator[ExportRecordsResponse]:
        """Yields the parts of an export, each with its bytes and a token that goes on after it.

        Args:
            filter_: which records.
            reason: why; recorded.
            export_format: json-lines, csv, parquet or ocsf.
            resume_token: of the last part received.
        """
        return self._transport.stream(_export(filter_, reason, export_format, resume_token))

    def evidence(
        self, filter_: str, *, reason: str, subject: SubjectLike | None = None
    ) -> Iterator[ExportEvidenceResponse]:
        """Yields the bytes of a bundle that proves a case offline: all of them together are one file.

        Args:
            filter_: what the case is about.
            reason: why the evidence is needed; recorded.
            subject: only records about this person.
        """
        return self._transport.stream(_evidence(filter_, subject, reason))

    def accesses(self, subject: SubjectLike, *, reason: str, page_size: int = 0) -> Iterator[SubjectAccess]:
        """Yields who looked at a person, or tried to, oldest first."""
        return self._transport.pages(_accesses(subject, reason, page_size))

    def contract_report(
        self, contract: str, *, reason: str, page_size: int = 0
    ) -> Iterator[ReportContractResponse]:
        """Yields the pages of what was done under `contracts/{c}` or one version of it, oldest first.

        The first page also counts the exchanges. Raises NotFound for a contract of others, as for one that is not there.
        """
        return self._transport.pages(_contract_report(contract, reason, page_size))

    def department_use(
        self, department: str, *, reason: str, since: datetime | None = None, until: datetime | None = None
    ) -> ReportDepartmentUseResponse:
        """Returns how `departments/{d}` used the data of others, the most used first.

        Args:
            department: an officer may name the own one only.
            reason: why; recorded.
            since: aware; from the beginning unless given.
            until: aware; until now unless given.
        """
        return self._transport.run(_department_use(department, reason, since, until))

    def anomalies(
        self,
        *,
        reason: str,
        since: datetime | None = None,
        until: datetime | None = None,
        kinds: Sequence[str] = (),
    ) -> ReportAnomaliesResponse:
        """Returns what is worth a look, the most unusual first, each with the filter that lists the records behind it.

        Over a long log it takes longer than a call's usual 10 seconds: see `Client.with_deadline`.

        Args:
            reason: why; recorded.
            since: aware; seven days ago unless given.
            until: aware; now unless given.
            kinds: volume, denial-burst, off-hours, many-subjects, emergency-unreviewed; all unless given.
        """
        return self._transport.run(_anomalies(reason, since, until, kinds))


class AsyncAudit:
    """`Audit` with await."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def records(
        self, filter_: str = "", *, subject: SubjectLike | None = None, reason: str = "", page_size: int = 0
    ) -> AsyncIterator[Record]:
        """As `Audit.records`."""
        return self._transport.pages(_records(filter_, subject, reason, page_size))

    async def count(
        self,
        filter_: str = "",
        *,
        by: Sequence[str] = (),
        subject: SubjectLike | None = None,
        reason: str = "",
        page_size: int = 0,
    ) -> CountRecordsResponse:
        """As `Audit.count`."""
        return await self._transport.run(_count(filter_, by, subject, reason, page_size))

    async def record(self, name: str) -> Record:
        """As `Audit.record`."""
        return await self._transport.run(_record(name))

    async def proof(self, name: str) -> GetProofResponse:
        """As `Audit.proof`."""
        return await self._transport.run(_proof(name))

    async def checkpoint(self) -> GetCheckpointResponse:
        """As `Audit.checkpoint`."""
        return await self._transport.run(_checkpoint())

    async def consistency(self, old_size: int, new_size: int = 0) -> GetConsistencyProofResponse:
        """As `Audit.consistency`."""
        return await self._transport.run(_consistency(old_size, new_size))

    def export(
        self, filter_: str = "", *, reason: str, export_format: str = "json-lines", resume_token: str = ""
    ) -> AsyncIterator[ExportRecordsResponse]:
        """As `Audit.export`."""
        return self._transport.stream(_export(filter_, reason, export_format, resume_token))

    def evidence(
        self, filter_: str, *, reason: str, subject: SubjectLike | None = None
    ) -> AsyncIterator[ExportEvidenceResponse]:
        """As `Audit.evidence`."""
        return self._transport.stream(_evidence(filter_, subject, reason))

    def accesses(
        self, subject: SubjectLike, *, reason: str, page_size: int = 0
    ) -> AsyncIterator[SubjectAccess]:
        """As `Audit.accesses`."""
        return self._transport.pages(_accesses(subject, reason, page_size))

    def contract_report(
        self, contract: str, *, reason: str, page_size: int = 0
    ) -> AsyncIterator[ReportContractResponse]:
        """As `Audit.contract_report`."""
        return self._transport.pages(_contract_report(contract, reason, page_size))

    async def department_use(
        self, department: str, *, reason: str, since: datetime | None = None, until: datetime | None = None
    ) -> ReportDepartmentUseResponse:
        """As `Audit.department_use`."""
        return await self._transport.run(_department_use(department, reason, since, until))

    async def anomalies(
        self,
        *,
        reason: str,
        since: datetime | None = None,
        until: datetime | None = None,
        kinds: Sequence[str] = (),
    ) -> ReportAnomaliesResponse:
        """As `Audit.anomalies`."""
        return await self._transport.run(_anomalies(reason, since, until, kinds))
