"""Deciding and recording in one serialised ledger transaction, and only then answering (DESIGN invariants 1 to 4).

What was read before counts for nothing here: the state is read again in the transaction that appends the record.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from audit.ledger import Commit, Ledger, Transaction
from audit.record import LeafTooLarge
from gateway.emergency.store import note_use
from gateway.exchange.ending import Ending, abandoned, allowed, failed, failure, invalid, refused, vetoed
from gateway.exchange.grant import Passenger
from gateway.exchange.item import Answer, Exchange
from gateway.exchange.outcome import Failed, Outcome, Served, Vetoed
from gateway.exchange.records import decision_entry
from gateway.exchange.state import Rules, View, World, read_world
from gateway.policy.rules import FailedRule
from gateway.quotas import debit, used_up, write_usage
from isthmus.errors import Unavailable
from isthmus.reasons import Reason
from isthmus.v1.common_pb2 import Receipt

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """An exchange to decide: before the provider is asked, or with what came of asking it."""

    exchange: Exchange
    passenger: Passenger | None = None
    outcome: Outcome | None = None


Commits = Callable[[Sequence[Exchange], float], None]
"""Is told that the ledger has made the records of exchanges durable, and how many seconds that took."""

Judge = Callable[[Case, View, World], Ending | None]
"""Says how a case ends by the state that was read; None when it has not ended yet."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A case that ended, and the position of its record."""

    case: Case
    view: View
    ending: Ending
    position: int


class Watcher(Protocol):
    """Is told how exchanges ended, once their records are durable, and of what went wrong."""

    def ended(self, exchange: Exchange, view: View | None, ending: Ending) -> None: ...
    def unrecorded(self, exchange: Exchange) -> None: ...
    def fault(self, fault: Exception) -> None: ...


UNFORESEEN: Final = "an unforeseen fault; quote the exchange id"
_LAST_RESORT_S: Final = 1.0
_CHANGED: Final = (
    "it was replaced by another version while the exchange was under way",
    "ask again: the version in force then decides",
)


class Release:
    """Settles cases.

    Args:
        ledger: where the records go.
        rules: what turns state into decisions.
        watcher: is told how exchanges ended.
        commits: is told of commits; None where nobody wants to know.
    """

    def __init__(
        self, ledger: Ledger, rules: Rules, watcher: Watcher, *, commits: Commits | None = None
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._watcher = watcher
        self._commits = commits

    def judge_admission(self, case: Case, view: View, world: World) -> Ending | None:
        """Decides before the provider is asked; None when it may be asked."""
        exchange, now = case.exchange, world.now
        if gone := exchange.gone(now):
            return abandoned(gone, exchange=exchange.name)
        if view.damage is not None:
            return failed(view.damage.reason, view.damage.message, exchange=exchange.name)
        ruling = world.decide(view, self._rules)
        if not ruling.allowed:
            return self._refused(case, view, world, failed=ruling.failed_rules(), rows=None)
        if view.subject.fault is not None:
            return invalid(view.subject.fault, exchange=exchange.name)
        return None

    def judge_release(self, case: Case, view: View, world: World) -> Ending:
        """Decides once the provider has been asked."""
        exchange, outcome = case.exchange, case.outcome
        if gone := exchange.gone(world.now):
            return abandoned(gone, exchange=exchange.name)
        if isinstance(outcome, Vetoed):
            return vetoed(outcome.explanation, exchange=exchange.name, receipt=outcome.receipt)
        if not isinstance(outcome, Served) or case.passenger is None:
            reason, words = _failure(outcome)
            return failed(reason, words, exchange=exchange.name)
        if outcome.node in world.denied:
            words = "the certificate of the department's node has been denied"
            return failed(Reason.DEPARTMENT_MISBEHAVED, words, exchange=exchange.name)
        if view.damage is not None:
            return failed(view.damage.reason, view.damage.message, exchange=exchange.name)
        ruling = world.decide(view, self._rules, rows=outcome.row_count)
        broken = ruling.failed_rules() or changed(case.passenger, view)
        if broken:
            return self._refused(case, view, world, failed=broken, rows=outcome.row_count)
        return allowed(outcome)

    def settle(self, cases: Sequence[Case], judge: Judge) -> list[tuple[Case, View]]:
        """Decides, records and answers; all in one transaction, or one each when they spoil it together.

        Args:
            cases: what to decide.
            judge: how.

        Returns:
            The cases that have not ended, and what was read for them.

        Raises:
            Unavailable: the ledger could not make the records durable. Nothing was released.
        """
        if not cases:
            return []
        try:
            commit = self._transact(lambda transaction: self._decide(transaction, cases, judge), cases)
        except Unavailable:
            raise
        except Exception:
            if len(cases) == 1:
                raise
            # One case that cannot be recorded must not take the others of its train with it.
            return [left for case in cases for left in self._alone(case, judge)]
        settled, left = commit.value
        for each in settled:
            _end(each, commit)
        for each in settled:
            self._watcher.ended(each.case.exchange, each.view, each.ending)
        return left

    def record_failures(self, exchanges: Sequence[Exchange], reason: Reason, words: str) -> None:
        """Ends exchanges after a fault: with a record if one can still be written, and in any case with an error."""
        endings = [failed(reason, words, exchange=each.name) for each in exchanges]

        def work(transaction: Transaction) -> None:
            for exchange, ending in zip(exchanges, endings, strict=True):
                entry = decision_entry(exchange, None, ending, rules=self._rules, now=transaction.now)
                transaction.append(entry.record, detail=entry.detail)

        try:
            self._ledger.transact(work, deadline_s=_LAST_RESORT_S)
            recorded = True
        except Exception as fault:  # noqa: BLE001 - whatever went wrong, every caller gets an end
            recorded = False
            self._watcher.fault(fault)
        for exchange, ending in zip(exchanges, endings, strict=True):
            exchange.fail(ending.error or failure(reason, words, exchange=exchange.name))
            if recorded:
                self._watcher.ended(exchange, None, ending)
            else:
                self._watcher.unrecorded(exchange)

    def _transact(self, work: Callable[[Transaction], T], cases: Sequence[Case]) -> Commit[T]:
        if self._commits is None:
            return self._ledger.transact(work)
        done = 0.0

        def timed(transaction: Transaction) -> T:
            nonlocal done
            value = work(transaction)
            done = time.perf_counter()
            return value

        commit = self._ledger.transact(timed)
        self._commits([each.exchange for each in cases], time.perf_counter() - done)
        return commit

    def _alone(self, case: Case, judge: Judge) -> list[tuple[Case, View]]:
        try:
            return self.settle([case], judge)
        except Unavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever went wrong, every caller gets an end
            self._watcher.fault(fault)
            self.record_failures([case.exchange], Reason.INTERNAL, UNFORESEEN)
            return []

    def _decide(
        self, transaction: Transaction, cases: Sequence[Case], judge: Judge
    ) -> tuple[list[Settled], list[tuple[Case, View]]]:
        world = read_world(
            transaction.connection,
            [case.exchange.asked for case in cases],
            self._rules,
            now=transaction.now,
            nodes=sorted({case.outcome.node for case in cases if isinstance(case.outcome, Served)}),
        )
        before = dict(world.usage)
        settled: list[Settled] = []
        left: list[tuple[Case, View]] = []
        for case, view in zip(cases, world.views, strict=True):
            ending = judge(case, view, world)
            if ending is None:
                left.append((case, view))
                continue
            settled.append(self._append(transaction, case, view, ending))
            served = settled[-1].ending.served
            if served is not None:
                self._note_emergency(transaction, settled[-1])
                debit(view.counted, world.usage, rows=served.row_count)
        write_usage(transaction.connection, before, world.usage)
        return settled, left

    def _append(self, transaction: Transaction, case: Case, view: View, ending: Ending) -> Settled:
        entry = decision_entry(case.exchange, view, ending, rules=self._rules, now=transaction.now)
        try:
            position = transaction.append(entry.record, detail=entry.detail)
        except LeafTooLarge:
            words = "its record would be larger than the log takes; ask for fewer fields at once"
            ending = failed(Reason.INVALID_ARGUMENT, words, exchange=case.exchange.name)
            entry = decision_entry(case.exchange, view, ending, rules=self._rules, now=transaction.now)
            position = transaction.append(entry.record, detail=entry.detail)
        return Settled(case, view, ending, position)

    def _note_emergency(self, transaction: Transaction, settled: Settled) -> None:
        asked, contract = settled.case.exchange.asked, settled.view.contract
        if asked.emergency and contract is not None:
            note_use(
                transaction.connection,
                contract,
                exchange=settled.case.exchange.name,
                caller=asked.caller,
                justification=asked.emergency,
                at=transaction.now,
                position=settled.position,
            )

    def _refused(
        self, case: Case, view: View, world: World, *, failed: Sequence[FailedRule], rows: int | None
    ) -> Ending:
        quota = used_up(view.limits, world.usage, rows=rows)
        return refused(failed, exchange=case.exchange.name, quota=quota, now=world.now)


def _end(settled: Settled, commit: Commit[Any]) -> None:
    exchange, ending = settled.case.exchange, settled.ending
    if ending.served is not None:
        exchange.answer(_answer(ending.served, settled.position, commit))
    elif ending.error is not None:
        exchange.fail(ending.error)


def _answer(served: Served, position: int, commit: Commit[Any]) -> Answer:
    return Answer(
        subject_known=served.subject_known,
        row_set=served.row_set,
        verdict=served.verdict,
        receipt=Receipt(
            record_index=position,
            leaf_hash=commit.leaf_hashes[position],
            checkpoint=commit.checkpoint,
            provider_receipt=served.receipt,
        ),
    )


def _failure(outcome: Outcome | None) -> tuple[Reason, str]:
    if isinstance(outcome, Failed):
        return outcome.reason, outcome.explanation
    return Reason.INTERNAL, "the provider was never asked"


def changed(passenger: Passenger, view: View) -> tuple[FailedRule, ...]:
    """Whether the rows were granted under other terms, or looked up by another identifier, than hold now."""
    contract = view.contract
    if contract is None or (contract.full_name, contract.terms_digest) != (
        passenger.contract.full_name,
        passenger.contract.terms_digest,
    ):
        explanation = f"{passenger.contract.full_name}: {_CHANGED[0]}"
        return (FailedRule("contract-ended", Reason.CONTRACT_ENDED, explanation, _CHANGED[1]),)
    if view.subject.canonical != passenger.view.subject.canonical:
        explanation = "the catalogue entry changed while the exchange was under way"
        return (FailedRule("dataset-unavailable", Reason.DATASET_UNAVAILABLE, explanation, "ask again"),)
    return ()
