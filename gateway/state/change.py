"""One control call: read the state, check, record, write, all in one serialised transaction of the ledger."""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from audit.ledger import Commit, Ledger, Transaction
from audit.record import AccessRecord, Kind
from gateway.denylist import denied
from gateway.rulebook import Rulebook
from gateway.state.contracts import ContractRow
from gateway.state.requests import Once, first_result, remember_result
from isthmus.errors import IsthmusError, PermissionDenied
from isthmus.identity import Identity
from isthmus.ids import new_exchange
from isthmus.names import DepartmentName
from isthmus.reasons import Reason

T = TypeVar("T")
M = TypeVar("M", bound=Message)

LONGEST_CALL: Final = timedelta(seconds=10)
"""For how long a control call may wait for the ledger, whatever deadline its caller set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A control call: who makes it, of which method (`SignContract`), until when, and its exchange id."""

    identity: Identity
    thumbprint: str
    method: str
    received: datetime
    exchange: str
    deadline: datetime | None = None
    trace_id: str = ""

    @property
    def department(self) -> str:
        """`departments/{department}` of the caller; empty for a caller of no department."""
        found = self.identity.department
        return "" if found is None else str(DepartmentName(found))


class Refusal(Exception):
    """A call that may be made, refused by a rule about parties or statements: answered and recorded.

    Args:
        error: what the caller is told.
        resource: what the call is about.
        reason: the rule, when the answer must hide it (AIP-211); the error's own unless given.
    """

    def __init__(self, error: IsthmusError, resource: str, *, reason: Reason | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.resource = resource
        self.reason = error.reason if reason is None else reason


class Change:
    """A control call inside its transaction. Check everything first, then `record`, then write."""

    def __init__(self, tx: Transaction, call: Call, policy_digest: str, rulebook: Rulebook) -> None:
        self._tx = tx
        self._policy_digest = policy_digest
        self.call = call
        self.rulebook = rulebook
        self.recorded = False

    @property
    def connection(self) -> sa.Connection:
        """The transaction's connection."""
        return self._tx.connection

    @property
    def now(self) -> datetime:
        """When the transaction began; every instant of the call is compared with this one."""
        return self._tx.now

    def record(
        self,
        resource: str,
        change: Mapping[str, str | int],
        *,
        about: ContractRow | None = None,
        subject_token: str = "",
        reason: str = "",
        detail: Mapping[str, str] | None = None,
        dataset: str = "",
    ) -> int:
        """Appends the record of the change and returns its position.

        Args:
            resource: the name of what changes.
            change: what changes, with the digests of signed statements; no free text.
            about: the contract concerned, so that its parties find the record.
            subject_token: the person concerned.
            reason: the reason that was given. It is free text, so the log holds only a commitment to it.
            detail: more erasable detail, such as nonces.
            dataset: the dataset concerned, when there is no contract.
        """
        self.recorded = True
        erasable, committed = dict(detail or {}), dict(change)
        if reason:
            nonce = secrets.token_bytes(32)
            committed["reason_commitment"] = hashlib.sha256(nonce + reason.encode()).hexdigest()
            erasable |= {"reason": reason, "reason_nonce": nonce.hex()}
        record = AccessRecord(
            exchange=self.call.exchange,
            kind=Kind.CONTROL,
            at={"in": self.call.received},
            caller=self.call.identity.uri,
            certificate=self.call.thumbprint,
            consumer=about.consumer if about else "",
            provider=about.provider if about else dataset.partition("/datasets/")[0],
            dataset=about.dataset if about else dataset,
            contract=about.full_name if about else "",
            terms_digest=about.terms_digest if about else "",
            subject_token=subject_token,
            policy_digest=self._policy_digest,
            trace_id=self.call.trace_id,
            grpc_code="OK",
            action=self.call.method,
            resource=resource,
            change=committed,
        )
        return self._tx.append(record, detail=erasable)

    def refuse(self, refusal: Refusal) -> None:
        """Appends the record of a refusal."""
        self._tx.append(
            AccessRecord(
                exchange=self.call.exchange,
                kind=Kind.CONTROL,
                at={"in": self.call.received},
                caller=self.call.identity.uri,
                certificate=self.call.thumbprint,
                reasons=(refusal.reason.name,),
                policy_digest=self._policy_digest,
                trace_id=self.call.trace_id,
                grpc_code=refusal.error.code.name,
                action=self.call.method,
                resource=refusal.resource,
            )
        )


class Control:
    """Runs control calls against the ledger; safe to use from many threads.

    Args:
        ledger: it holds the control tables (`gateway.state.schema.METADATA`) too.
        clock: returns the present time, UTC-aware.
        policy_digest: of the rules that authorised the calls, for the records.
        rulebook: the rule packs; those that come with the software, and the neutral one for new cases, unless given.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
        policy_digest: str = "",
        rulebook: Rulebook | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._policy_digest = policy_digest
        self.rulebook = Rulebook.load() if rulebook is None else rulebook

    @property
    def clock(self) -> Callable[[], datetime]:
        """The clock."""
        return self._clock

    def call(
        self,
        identity: Identity,
        thumbprint: str,
        method: str,
        *,
        deadline: datetime | None = None,
        trace_id: str = "",
    ) -> Call:
        """Returns a call that begins now."""
        now = self._clock()
        return Call(
            identity=identity,
            thumbprint=thumbprint,
            method=method,
            received=now,
            exchange=str(new_exchange(now)),
            deadline=deadline,
            trace_id=trace_id,
        )

    @contextmanager
    def read(self, call: Call) -> Iterator[sa.Connection]:
        """A snapshot for a call that changes nothing.

        Raises:
            PermissionDenied: the caller's certificate is denied.
            LedgerUnavailable: the state cannot be read.
        """
        with self._ledger.read() as connection:
            if fault := _credential_fault(connection, call):
                raise fault
            yield connection

    def change(self, call: Call, work: Callable[[Change], T]) -> Commit[T]:
        """Runs `work` in one transaction and returns what it left behind, durable.

        A `Refusal` becomes a record of its own and then the caller's error; any other exception rolls everything
        back. Errors carry the call's exchange id.

        Raises:
            IsthmusError: what `work` raised or refused with.
            LedgerUnavailable: nothing was changed, or nobody can say so yet; repeat the call.
        """

        def run(tx: Transaction) -> T | Refusal:
            change = Change(tx, call, self._policy_digest, self.rulebook)
            try:
                if fault := _credential_fault(tx.connection, call):
                    raise Refusal(fault, call.identity.resource)
                return work(change)
            except Refusal as refusal:
                if change.recorded:
                    raise refusal.error from None
                change.refuse(refusal)
                return refusal

        try:
            commit = self._ledger.transact(run, deadline_s=self._patience(call))
        except IsthmusError as error:
            error.exchange = error.exchange or call.exchange
            raise
        if isinstance(commit.value, Refusal):
            commit.value.error.exchange = call.exchange
            raise commit.value.error
        return Commit(commit.value, commit.size, commit.checkpoint, commit.leaf_hashes)

    def change_once(self, call: Call, once: Once[M] | None, work: Callable[[Change], M]) -> M:
        """Runs `work` unless the same caller made the same request before; then returns its first result (AIP-155).

        Args:
            call: the call.
            once: the request's id and content; None when the caller gave no id.
            work: as for `change`.

        Raises:
            InvalidArgument: the id came before with another request.
        """

        def run(change: Change) -> M:
            if once is None:
                return work(change)
            if (known := first_result(change.connection, call.identity.uri, call.method, once)) is not None:
                return known
            result = work(change)
            remember_result(change.connection, call.identity.uri, call.method, once, result, at=change.now)
            return result

        return self.change(call, run).value

    def _patience(self, call: Call) -> float:
        if call.deadline is None:
            return LONGEST_CALL.total_seconds()
        return max(0.0, min(LONGEST_CALL, call.deadline - self._clock()).total_seconds())


def _credential_fault(connection: sa.Connection, call: Call) -> PermissionDenied | None:
    if not denied(connection, (call.thumbprint,)):
        return None
    return PermissionDenied(
        Reason.CREDENTIAL_DENIED,
        f"the certificate {call.thumbprint[:16]}… was denied; {call.identity.resource} needs a new one",
    )
