"""How exchanges end: as an answer, a denial or an error, and the words in which a caller is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.exchange.outcome import Served
from gateway.policy.rules import FailedRule
from gateway.quotas import Limit
from isthmus.errors import (
    Cancelled,
    DeadlineExceeded,
    Denied,
    InvalidArgument,
    IsthmusError,
    QuotaViolation,
    ResourceExhausted,
    Unavailable,
)
from isthmus.reasons import Reason, status_code

_RETRY: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Ending:
    """What is decided about an exchange: ALLOW with `served`, or DENY or ERROR with `error`.

    `rules` are the ids of the rules that refused it, `receipt` the provider's if there is one.
    """

    decision: str
    served: Served | None = None
    error: IsthmusError | None = None
    rules: tuple[str, ...] = ()
    receipt: str = ""

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons of a denial or an error."""
        return self.error.reasons if self.error is not None else ()


def allowed(served: Served) -> Ending:
    """The answer may be released."""
    return Ending("ALLOW", served=served, receipt=served.receipt)


def refused(failed: Sequence[FailedRule], *, exchange: str, quota: Limit | None, now: datetime) -> Ending:
    """The policy refuses the exchange.

    Args:
        failed: every rule that refuses it, at least one.
        exchange: `exchanges/{uuid}`.
        quota: the quota that is used up, if one is.
        now: the time of the decision.
    """
    reasons = tuple(dict.fromkeys(rule.reason for rule in failed))
    rules = tuple(rule.rule for rule in failed)
    message = "; ".join(f"{rule.explanation} ({rule.rule}): {rule.remedy}" for rule in failed)
    error: IsthmusError
    if reasons[0] is Reason.QUOTA_EXHAUSTED:
        error = ResourceExhausted(reasons[0], message, exchange=exchange, reasons=reasons)
        if quota is not None and quota.ends is not None:
            error.retry_after = quota.ends - now
    else:
        error = Denied(reasons[0], message, exchange=exchange, reasons=reasons)
    error.metadata["rules"] = ",".join(rules)
    if quota is not None and Reason.QUOTA_EXHAUSTED in reasons:
        error.quotas = (QuotaViolation(quota.counter.contract, quota.words()),)
    return Ending("DENY", error=error, rules=rules)


def vetoed(explanation: str, *, exchange: str, receipt: str) -> Ending:
    """The provider's own manifest refuses it."""
    message = f"the provider refuses it: {explanation}"
    error = Denied(Reason.PROVIDER_VETO, message, exchange=exchange)
    error.metadata["rules"] = "provider-veto"
    return Ending("DENY", error=error, rules=("provider-veto",), receipt=receipt)


def failed(reason: Reason, explanation: str, *, exchange: str) -> Ending:
    """A technical fault; nothing is released."""
    return Ending("ERROR", error=failure(reason, explanation, exchange=exchange))


def failure(
    reason: Reason, explanation: str, *, exchange: str, released: str = "nothing was released"
) -> IsthmusError:
    """A technical fault as the caller is told of it; `released` says what had left by then."""
    message = f"{explanation}; {released}"
    kind = _KINDS.get(status_code(reason).name, IsthmusError)
    error = kind(reason, message, exchange=exchange)
    if reason in _WORTH_REPEATING:
        error.retry_after = _RETRY
    return error


def invalid(fault: InvalidArgument, *, exchange: str) -> Ending:
    """The request turned out to be malformed once the dataset was known."""
    error = InvalidArgument(fault.violations[0].field, fault.violations[0].description)
    error.exchange = exchange
    return Ending("ERROR", error=error)


def abandoned(reason: Reason, *, exchange: str) -> Ending:
    """The caller has gone: CANCELLED or DEADLINE_EXCEEDED."""
    words = "the caller gave up" if reason is Reason.CANCELLED else "the caller's deadline ended first"
    return failed(reason, words, exchange=exchange)


_KINDS: Final[dict[str, type[IsthmusError]]] = {
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "CANCELLED": Cancelled,
}
_WORTH_REPEATING: Final = frozenset(
    {Reason.DEPARTMENT_UNAVAILABLE, Reason.DEPARTMENT_TIMEOUT, Reason.OVERLOADED, Reason.LEDGER_UNAVAILABLE}
)
