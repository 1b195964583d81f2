"""Callers whose role may not exchange: refused before their request is looked at, and recorded all the same."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from audit.ledger import Ledger
from audit.record import AccessRecord, Kind
from isthmus.errors import PermissionDenied
from isthmus.identity import Identity
from isthmus.ids import new_exchange
from isthmus.rpc import Authoriser

_SERVICE: Final = "/isthmus.v1.ExchangeService/"
_MODES: Final = {"Query": "QUERY", "Verify": "VERIFY", "BatchQuery": "BATCH", "Stream": "STREAM"}
_RULE: Final = "control-policy"


class _Counts(Protocol):
    def refused_caller(self, department: str, mode: str, reason: str) -> None: ...


class RecordingAuthoriser:
    """Asks another authoriser, and records what it refuses of the methods that begin an exchange.

    Args:
        inner: decides.
        ledger: where the records go.
        clock: returns the present time, UTC-aware.
        policy_digest: of the rules that `inner` applies.
        counts: is told of every refusal recorded.
    """

    def __init__(
        self,
        inner: Authoriser,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
        policy_digest: str,
        counts: _Counts,
    ) -> None:
        self._inner = inner
        self._ledger = ledger
        self._clock = clock
        self._policy_digest = policy_digest
        self._counts = counts

    def __call__(self, identity: Identity, full_method: str) -> None:
        """Returns when `identity` may call `full_method`.

        Raises:
            PermissionDenied: it may not.
            LedgerUnavailable: it may not, and the refusal could not be recorded.
        """
        try:
            self._inner(identity, full_method)
        except PermissionDenied as error:
            if mode := _MODES.get(full_method.removeprefix(_SERVICE)):
                error.exchange = self._record(identity, mode, error)
            raise

    def _record(self, identity: Identity, mode: str, error: PermissionDenied) -> str:
        now = self._clock()
        record = AccessRecord(
            exchange=str(new_exchange(now)),
            kind=Kind.DECISION,
            at={"in": now},
            caller=identity.uri,
            consumer=f"departments/{identity.department}" if identity.department else "",
            mode=mode,
            decision="DENY",
            reasons=tuple(reason.name for reason in error.reasons),
            rules=(_RULE,),
            policy_digest=self._policy_digest,
            grpc_code=error.code.name,
        )
        self._ledger.transact(lambda transaction: transaction.append(record))
        self._counts.refused_caller(record.consumer, mode, error.reason.name)
        return record.exchange
