"""Deciding about a batch and recording it in one serialised ledger transaction, and only then answering it.

What was decided before counts for nothing here: the state is read again in the transaction that appends the record. What
subjects consented to is read anew unless the log shows, in that transaction, that nobody's consent changed since it was
read (`gateway.batch.state.Heard`). Whose consent was withdrawn meanwhile is denied, and what the department said of them
is dropped.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from audit.ledger import Ledger, Transaction
from audit.record import AccessRecord, LeafTooLarge
from gateway.batch.admission import Admission
from gateway.batch.asked import BatchAsked
from gateway.batch.fetch import Gathered
from gateway.batch.part import Found
from gateway.batch.people import People
from gateway.batch.records import BatchEntry, Decided, batch_entry, content_of
from gateway.batch.state import State, read_common, read_state
from gateway.batch.verdict import (
    ALLOWED,
    CHANGED,
    QUOTA,
    VETOED,
    Judge,
    Verdict,
    of_ending,
    spread,
    whole,
)
from gateway.emergency.store import note_use
from gateway.exchange.ending import Ending, allowed, failed, refused
from gateway.exchange.grant import Passenger
from gateway.exchange.item import Exchange
from gateway.exchange.outcome import Failed, Served, Vetoed
from gateway.exchange.release import Commits, changed
from gateway.exchange.state import Rules, View
from gateway.policy.rules import FailedRule
from isthmus.errors import Internal, IsthmusError
from isthmus.reasons import Reason
from isthmus.v1.common_pb2 import Column, Receipt
from isthmus.v1.exchange_service_pb2 import VERDICT_UNSPECIFIED

_LAST_RESORT_S: Final = 1.0
_MISBEHAVED: Final = Verdict("ERROR", (Reason.DEPARTMENT_MISBEHAVED,))
_TOO_LARGE: Final = "its record would be larger than the log takes; ask for fewer fields at once"


class Refused(Exception):
    """A batch was refused as a whole, and that is recorded; `error` is what its caller is told."""

    def __init__(self, error: IsthmusError) -> None:
        super().__init__(error.message)
        self.error = error


class Counts(Protocol):
    """Is told how a batch ended, once its record is durable, and of what went wrong."""

    def batch_ended(self, exchange: Exchange, view: View | None, record: AccessRecord) -> None: ...
    def unrecorded(self, exchange: Exchange) -> None: ...
    def fault(self, fault: Exception) -> None: ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """A batch that may go to its department; its subjects are admitted part by part, while the department works."""

    batch: BatchAsked
    admission: Admission
    passenger: Passenger

    @property
    def people(self) -> People:
        """Its people."""
        return self.admission.state.people

    def parts(self) -> Iterator[Sequence[int]]:
        """As `Admission.parts`. MUST be read to its end before the batch is released."""
        return self.admission.parts()


@dataclass(frozen=True, slots=True)
class Settled:
    """A batch that has its record: who its subjects are, what was decided about each, and the evidence."""

    people: People
    verdicts: Sequence[Verdict]
    found: Mapping[int, Found]
    columns: tuple[Column, ...]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a batch was decided, and the position of its record."""

    ending: Ending
    record: AccessRecord
    state: State
    decided: Decided
    position: int


class BatchRelease:
    """Settles batches.

    Args:
        ledger: where the records go.
        rules: what turns state into decisions.
        counts: is told how they ended.
        commits: is told of commits; None where nobody wants to know.
    """

    def __init__(
        self, ledger: Ledger, rules: Rules, counts: Counts, *, commits: Commits | None = None
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._counts = counts
        self._commits = commits

    def admit(self, batch: BatchAsked, exchange: Exchange, *, now: datetime) -> Admitted:
        """Returns the batch when its department may be asked; otherwise records why not.

        Args:
            batch: what is asked.
            exchange: the batch as an exchange.
            now: the present time, UTC.

        Raises:
            Refused: as a whole, and that is recorded.
            Unavailable: the ledger cannot be read or written.
        """
        with self._ledger.read() as connection:
            size = self._ledger.head(connection).size
            state = read_common(connection, batch, self._rules, now=now)
        if whole(state, exchange, self._rules) is not None:
            # Decided again where it is recorded: a denial too must be true at the position of its record.
            read, outcome = self._ledger.transact(
                lambda tx: self._refuse(tx, batch, exchange, people=state.people)
            ).value
            if outcome is not None:
                raise self._refused(exchange, outcome)
            state = read
        if state.view.contract is None:
            raise Internal()
        admission = Admission(self._ledger, state, self._rules, size=size)
        return Admitted(batch, admission, Passenger(exchange, state.view, state.view.contract))

    def release(self, admitted: Admitted, gathered: Gathered) -> Settled:
        """Decides, records, and returns what may be answered.

        Raises:
            Refused: as a whole, and that is recorded.
            Unavailable: the ledger cannot take its record, and nothing was released.
        """
        exchange, written = admitted.passenger.exchange, 0.0

        def work(tx: Transaction) -> Outcome:
            nonlocal written
            decided = self._decide(tx, admitted, gathered)
            written = time.perf_counter()
            return decided

        commit = self._ledger.transact(work)
        outcome = commit.value
        if self._commits is not None:
            self._commits([exchange], time.perf_counter() - written)
        if outcome.ending.error is not None and not outcome.decided.each:
            raise self._refused(exchange, outcome)
        self._note(exchange, outcome)
        receipt = Receipt(
            record_index=outcome.position,
            leaf_hash=commit.leaf_hashes[outcome.position],
            checkpoint=commit.checkpoint,
            provider_receipt=outcome.ending.receipt,
        )
        decided = outcome.decided
        return Settled(outcome.state.people, decided.verdicts, decided.found, gathered.columns, receipt)

    def fail(self, batch: BatchAsked, exchange: Exchange, fault: IsthmusError) -> None:
        """Records a batch that a fault has ended, if a record can still be written; raises nothing."""
        ending = Ending("ERROR", error=fault)

        def work(tx: Transaction) -> AccessRecord:
            entry = batch_entry(
                batch, exchange, ending, state=None, decided=None, rules=self._rules, now=tx.now
            )
            tx.append(entry.record, detail=entry.detail)
            return entry.record

        try:
            record = self._ledger.transact(work, deadline_s=_LAST_RESORT_S).value
        except Exception as worse:  # noqa: BLE001 - whatever went wrong, the caller gets an end
            self._counts.fault(worse)
            self._counts.unrecorded(exchange)
        else:
            self._counts.batch_ended(exchange, None, record)

    def _refuse(
        self, tx: Transaction, batch: BatchAsked, exchange: Exchange, *, people: People
    ) -> tuple[State, Outcome | None]:
        state = read_state(tx.connection, batch, self._rules, now=tx.now, people=people)
        ending = whole(state, exchange, self._rules)
        return state, None if ending is None else self._append_whole(tx, batch, exchange, ending, state)

    def _decide(self, tx: Transaction, admitted: Admitted, gathered: Gathered) -> Outcome:
        passenger, people = admitted.passenger, admitted.people
        batch, exchange = admitted.batch, passenger.exchange
        state = read_state(
            tx.connection,
            batch,
            self._rules,
            now=tx.now,
            people=people,
            nodes=sorted(gathered.nodes),
            heard=admitted.admission.heard,
        )
        ending = whole(state, exchange, self._rules) or _replaced(passenger, people, state)
        if ending is not None:
            return self._append_whole(tx, batch, exchange, ending, state)
        decided = _each(state, self._rules, admitted, gathered)
        ending = _ending(state.people.places, decided, gathered)
        outcome = self._append(tx, batch, exchange, ending, state=state, decided=decided)
        if outcome.ending is ending and decided.found:
            state.purse.write(tx.connection)
            self._note_emergency(tx, exchange, state.view, outcome.position)
        return outcome

    def _append_whole(
        self, tx: Transaction, batch: BatchAsked, exchange: Exchange, ending: Ending, state: State
    ) -> Outcome:
        decided = Decided(spread(state, of_ending(ending)), {}, each=False)
        return self._append(tx, batch, exchange, ending, state=state, decided=decided)

    def _append(
        self,
        tx: Transaction,
        batch: BatchAsked,
        exchange: Exchange,
        ending: Ending,
        *,
        state: State,
        decided: Decided,
    ) -> Outcome:
        def entry(ending: Ending, decided: Decided) -> BatchEntry:
            return batch_entry(
                batch, exchange, ending, state=state, decided=decided, rules=self._rules, now=tx.now
            )

        made = entry(ending, decided)
        try:
            position = tx.append(made.record, detail=made.detail, batch=made.lines)
        except LeafTooLarge:
            ending = failed(Reason.INVALID_ARGUMENT, _TOO_LARGE, exchange=exchange.name)
            decided = Decided(spread(state, of_ending(ending)), {}, each=False)
            made = entry(ending, decided)
            position = tx.append(made.record, detail=made.detail, batch=made.lines)
        return Outcome(ending, made.record, state, decided, position)

    def _note_emergency(self, tx: Transaction, exchange: Exchange, view: View, position: int) -> None:
        if exchange.asked.emergency and view.contract is not None:
            note_use(
                tx.connection,
                view.contract,
                exchange=exchange.name,
                caller=exchange.asked.caller,
                justification=exchange.asked.emergency,
                at=tx.now,
                position=position,
            )

    def _refused(self, exchange: Exchange, outcome: Outcome) -> Refused:
        """The end of a batch that is refused as a whole, once that is durable."""
        self._note(exchange, outcome)
        return Refused(outcome.ending.error or Internal())

    def _note(self, exchange: Exchange, outcome: Outcome) -> None:
        self._counts.batch_ended(exchange, outcome.state.view, outcome.record)


def _replaced(passenger: Passenger, people: People, state: State) -> Ending | None:
    """Whether the rows were granted under other terms, or looked up by other identifiers, than hold now."""
    broken = changed(passenger, state.view)
    if not broken and state.people is not people:
        words = "the catalogue entry changed while the exchange was under way"
        broken = (FailedRule("dataset-unavailable", Reason.DATASET_UNAVAILABLE, words, "ask again"),)
    if not broken:
        return None
    return refused(broken, exchange=passenger.exchange.name, quota=None, now=state.world.now)


def _each(state: State, rules: Rules, admitted: Admitted, gathered: Gathered) -> Decided:
    """Decides about each subject by the state that was read just now, in the order of the request."""
    verdicts, found = Judge(state, rules).people(), dict[int, Found]()
    struck = {number for node in state.world.denied for number in gathered.nodes.get(node, ())}
    for number, verdict in enumerate(verdicts):
        answer = gathered.found.get(number)
        if answer is None:
            verdicts[number] = _unanswered(
                verdict, admitted.admission.verdicts[number], gathered.lost.get(number)
            )
        elif number in struck:
            verdicts[number] = _MISBEHAVED
        elif verdict is ALLOWED:
            person = state.people.persons[number]
            if state.purse.take(person.token, state.uses(number), rows=answer.rows) is None:
                found[number] = answer
            else:
                verdicts[number] = QUOTA
    return Decided(verdicts, found)


def _unanswered(now: Verdict, before: Verdict, lost: Failed | Vetoed | None) -> Verdict:
    if isinstance(lost, Vetoed):
        return VETOED
    if lost is not None:
        return Verdict("ERROR", (lost.reason,))
    if now is not ALLOWED:
        return now
    return QUOTA if before is QUOTA else CHANGED


def _ending(places: Sequence[int], decided: Decided, gathered: Gathered) -> Ending:
    receipts = "\n".join(gathered.receipts)
    if decided.found:
        rows = sum(each.rows for each in decided.found.values())
        return allowed(
            Served(
                subject_known=any(each.size for each in decided.found.values()),
                row_set=None,
                verdict=VERDICT_UNSPECIFIED,
                content=content_of(places, decided.found),
                row_count=rows,
                receipt=receipts,
                node=next(iter(gathered.nodes), ""),
            )
        )
    kinds = dict.fromkeys(decided.of(place) for place in places)
    reasons = tuple(dict.fromkeys(reason for each in kinds for reason in each.reasons))
    rules = tuple(dict.fromkeys(rule for each in kinds for rule in each.rules))
    errors_only = all(each.decision == "ERROR" for each in kinds)
    error = IsthmusError(reasons[0], "no subject of the batch could be answered", reasons=reasons)
    return Ending("ERROR" if errors_only else "DENY", error=error, rules=rules, receipt=receipts)
