"""Everything Isthmus refuses, as one error tree.

Each error knows its reason, and from the reason follows its gRPC status; `isthmus.status` carries errors over the
wire as AIP-193 details and back. An exception that is no IsthmusError stays opaque outside the server. Messages
say what was refused, by which rule and what would make it pass, and hold no personal identifier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc

from isthmus.reasons import Reason, status_code

__all__ = [
    "AlreadyExists",
    "Cancelled",
    "DeadlineExceeded",
    "Denied",
    "EtagMismatch",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "IsthmusError",
    "NotFound",
    "PermissionDenied",
    "Precondition",
    "QuotaViolation",
    "Reason",
    "ResourceExhausted",
    "StateConflict",
    "StatementInvalid",
    "TermsInvalid",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A request field, by its path, and what is wrong with it."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Precondition:
    """A state that must change first: its type, the resource it is about, and what to do."""

    type: str
    subject: str
    description: str


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """A quota that is used up: whose it is, and what it allows."""

    subject: str
    description: str


class IsthmusError(Exception):
    """Something was refused.

    Args:
        reason: the reason that decides the gRPC status.
        message: what was refused, by which rule, and what would make it pass.
        exchange: `exchanges/{uuid}`, so that a caller can quote it.
        reasons: every rule that failed, `reason` first; only `reason` unless given.
        metadata: further facts a program may want; no personal data.
        retry_after: when trying again may help.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        exchange: str = "",
        reasons: Sequence[Reason] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.exchange = exchange
        self.reasons = tuple(reasons) or (reason,)
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.violations: tuple[FieldViolation, ...] = ()
        self.preconditions: tuple[Precondition, ...] = ()
        self.quotas: tuple[QuotaViolation, ...] = ()

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status that the reason answers with."""
        return status_code(self.reason)


class Unauthenticated(IsthmusError):
    """The certificate is nobody's, or not exactly one party's."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.IDENTITY_INVALID, message)


class PermissionDenied(IsthmusError):
    """The caller may not do this, whatever the request holds."""


class Denied(PermissionDenied):
    """The policy refused an exchange; `reasons` holds every rule that failed."""


class InvalidArgument(IsthmusError):
    """A request field is missing, malformed or out of bounds.

    Args:
        field: the path of the field.
        description: what is wrong with it, completing "<field> …".
        others: further violations of the same request.
    """

    def __init__(
        self,
        field: str,
        description: str,
        *,
        others: Sequence[FieldViolation] = (),
        reason: Reason = Reason.INVALID_ARGUMENT,
    ) -> None:
        violations = (FieldViolation(field, description), *others)
        message = "; ".join(f"{each.field}: {each.description}" for each in violations)
        super().__init__(reason, message)
        self.violations = violations


class TermsInvalid(InvalidArgument):
    """Contract terms contradict the catalogue or themselves."""

    def __init__(self, field: str, description: str, *, others: Sequence[FieldViolation] = ()) -> None:
        super().__init__(field, description, others=others, reason=Reason.TERMS_INVALID)


class StatementInvalid(InvalidArgument):
    """A signed statement is forged, malformed, or says something other than the request."""

    def __init__(self, description: str, *, field: str = "statement") -> None:
        super().__init__(field, description, reason=Reason.STATEMENT_INVALID)


class NotFound(IsthmusError):
    """There is no such resource, or the caller may not know of it (AIP-211)."""

    def __init__(self, name: str) -> None:
        super().__init__(
            Reason.NOT_FOUND,
            f"{name} does not exist, or you may not see it",
            metadata={"resource": name},
        )


class AlreadyExists(IsthmusError):
    """The name is taken, by something with other content."""

    def __init__(self, name: str) -> None:
        super().__init__(
            Reason.ALREADY_EXISTS, f"{name} exists already with other content", metadata={"resource": name}
        )


class StateConflict(IsthmusError):
    """The resource's state does not allow the change.

    Args:
        name: the resource.
        description: in which state it is, and which would allow the change.
    """

    def __init__(self, name: str, description: str) -> None:
        super().__init__(Reason.STATE_CONFLICT, f"{name}: {description}", metadata={"resource": name})
        self.preconditions = (Precondition("STATE", name, description),)


class EtagMismatch(IsthmusError):
    """Somebody else changed the resource meanwhile (AIP-154)."""

    def __init__(self, name: str) -> None:
        super().__init__(
            Reason.ETAG_MISMATCH,
            f"{name} has changed since you read it; read it again and repeat",
            metadata={"resource": name},
        )


class ResourceExhausted(IsthmusError):
    """A quota is used up, or the server is busy; `retry_after` says when to try again."""


class Unavailable(IsthmusError):
    """Something the call depends on does not work now; nothing was released."""


class DeadlineExceeded(IsthmusError):
    """Time ran out; nothing was released."""


class Cancelled(IsthmusError):
    """The caller gave up; nothing was released."""


class Unimplemented(IsthmusError):
    """The method is part of the API and not served by this version."""

    def __init__(self, method: str) -> None:
        super().__init__(
            Reason.UNIMPLEMENTED,
            f"{method} is part of the API but is not served by this version of Isthmus",
            metadata={"method": method},
        )


class Internal(IsthmusError):
    """An unforeseen fault of the server; the exchange id finds it in the server's log."""

    def __init__(self, exchange: str = "") -> None:
        super().__init__(Reason.INTERNAL, "an unforeseen fault; quote the exchange id", exchange=exchange)
