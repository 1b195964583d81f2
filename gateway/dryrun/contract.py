"""DryRunContract: an officer of a party asks what other terms would have changed."""

import threading
from datetime import timedelta
from typing import Final

from gateway.contracts.propose import as_signed
from gateway.dryrun.replay import replay
from gateway.dryrun.terms import TermsTrial
from gateway.exchange.state import Rules
from gateway.state.change import Call, Control
from gateway.state.contracts import ContractRow, get_newest
from isthmus.errors import DeadlineExceeded, FieldViolation, NotFound, ResourceExhausted, TermsInvalid
from isthmus.names import ContractName
from isthmus.reasons import Reason
from isthmus.terms import instant, terms_to_document
from isthmus.v1.contract_service_pb2 import ContractTerms, DryRunContractRequest, DryRunContractResponse

_RETRY: Final = timedelta(seconds=5)


class ContractDryRun:
    """Answers DryRunContract, one at a time: a run reads up to 100,000 records, and exchanges go first.

    Args:
        control: gives the snapshots and the time.
        rules: of the deployment.
    """

    def __init__(self, control: Control, rules: Rules) -> None:
        self._control = control
        self._rules = rules
        self._running = threading.Lock()

    def run(self, call: Call, request: DryRunContractRequest) -> DryRunContractResponse:
        """Tries `request.terms` on the contract's recorded exchanges. Nothing is changed, and nothing agreed.

        Raises:
            NotFound: there is no such contract, or the caller's department is not a party to it.
            TermsInvalid: the terms are of other parties or another dataset; another contract would hold those.
            ResourceExhausted: OVERLOADED, another dry run is under way.
            DeadlineExceeded: the caller's time ended first.
        """
        name = str(ContractName.parse(request.contract, field="contract", versioned=False))
        terms = as_signed(request.terms)
        with self._control.read(call) as conn:
            newest = get_newest(conn, name)
        if newest is None or call.department not in newest.parties:
            raise NotFound(name)
        _require_same(terms, newest)
        trial = TermsTrial(self._rules.policy, terms_to_document(terms), self._rules.offset)
        if not self._running.acquire(blocking=False):
            words = "another dry run is under way at this gateway; try again when it has ended"
            raise ResourceExhausted(Reason.OVERLOADED, words, retry_after=_RETRY)
        try:
            report = replay(
                lambda: self._control.read(call),
                trial,
                contract=name,
                since=instant(request.since) if request.HasField("since") else None,
                progress=lambda _: self._require_time(call),
            )
        finally:
            self._running.release()
        return report.message()

    def _require_time(self, call: Call) -> None:
        if call.deadline is not None and self._control.clock() >= call.deadline:
            words = "the deadline ended before the past was tried; give a longer one, or a later `since`"
            raise DeadlineExceeded(Reason.DEADLINE_EXCEEDED, words)


def _require_same(terms: ContractTerms, row: ContractRow) -> None:
    found = [
        FieldViolation(f"terms.{member}", f"must be {getattr(row, member)}, as in {row.name}")
        for member in ("provider", "consumer", "dataset")
        if getattr(terms, member) != getattr(row, member)
    ]
    if found:
        raise TermsInvalid(found[0].field, found[0].description, others=found[1:])
