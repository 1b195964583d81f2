"""ExportEvidence: the bundle is made, its export is recorded with the bundle's digest, and then its bytes leave."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from audit.evidence.bundle import Trust, make_bundle
from audit.evidence.case import read_case
from audit.export.answer import Reader
from audit.export.record import Export, record_export
from audit.ledger import Ledger
from audit.search.access import visible_to
from audit.search.lookup import SubjectIndex
from audit.search.query import compile_filter, of_subject
from audit.witness.stored import cosigned_note
from isthmus.errors import Reason, ResourceExhausted
from isthmus.rpc import Caller
from isthmus.v1 import audit_service_pb2 as pb

MESSAGE_BYTES: Final = 1 << 20
_AT_ONCE: Final = 2
"""Bundles made at the same time: each is in memory as a whole."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Makes bundles.

    Args:
        ledger: the ledger.
        subjects: finds the tokens of a person.
        trust: what a bundle is checked with.
    """

    ledger: Ledger
    subjects: SubjectIndex
    trust: Trust
    _places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_AT_ONCE))

    def export(
        self, read: Reader, who: Caller, request: pb.ExportEvidenceRequest, *, received: datetime
    ) -> Iterator[pb.ExportEvidenceResponse]:
        """Yields the bundle.

        Args:
            read: opens a snapshot for a caller whose certificate was not denied.
            who: the caller, an auditor.
            request: what the case is about.
            received: when it was asked.

        Raises:
            InvalidArgument: no record fits, or the case is larger than a bundle may be; says how to narrow it.
            ResourceExhausted: as many bundles as may be are being made.
            LedgerUnavailable: the export could not be recorded, so nothing was handed over.
        """
        if not self._places.acquire(blocking=False):
            words = f"{_AT_ONCE} bundles are being made already"
            raise ResourceExhausted(Reason.OVERLOADED, words, retry_after=timedelta(seconds=10))
        try:
            data = self._make(read, who, request, received)
        finally:
            self._places.release()
        for start in range(0, len(data), MESSAGE_BYTES):
            yield pb.ExportEvidenceResponse(data=data[start : start + MESSAGE_BYTES])

    def _make(
        self, read: Reader, who: Caller, request: pb.ExportEvidenceRequest, received: datetime
    ) -> bytes:
        token, tokens = "", tuple[str, ...]()
        conditions = [*visible_to(who.identity), compile_filter(request.filter)]
        if request.HasField("subject"):
            token, tokens = self.subjects.find(request.subject)
            conditions.append(of_subject(tokens))
        with read(who) as connection:
            head = self.ledger.head(connection)
            case = read_case(connection, conditions, tokens=tokens)
            data = make_bundle(connection, case, head, self.trust, note=cosigned_note(connection, head))
        export = Export(
            caller=who,
            action="ExportEvidence",
            texts={"filter": request.filter, "reason": request.reason},
            told={"bundle_digest": hashlib.sha256(data).hexdigest(), "first": case.begin, "end": case.end},
            subject_token=token,
            count=len(case.indexes),
        )
        record_export(self.ledger, export, received=received, deadline_s=None)
        return data
