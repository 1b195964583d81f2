"""Errors on the wire: google.rpc.Status with AIP-193 details, and back again."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from isthmus import errors
from isthmus.errors import FieldViolation, IsthmusError, Precondition, QuotaViolation
from isthmus.reasons import Reason

DOMAIN: Final = "isthmus"


def to_status(error: IsthmusError) -> Any:
    """The gRPC status that carries an error: ErrorInfo always, and the details that it has.

    Returns:
        A grpc.Status for `context.abort_with_status`.
    """
    code = code_pb2.Code.Value(error.code.name)
    status = status_pb2.Status(code=code, message=error.message)
    for detail in _details(error):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return rpc_status.to_status(status)


def _details(error: IsthmusError) -> list[Any]:
    metadata = {**error.metadata, "reasons": ",".join(reason.name for reason in error.reasons)}
    if error.exchange:
        metadata["exchange"] = error.exchange
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=metadata)
    ]
    if error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=each.field, description=each.description
                    )
                    for each in error.violations
                ]
            )
        )
    if error.preconditions:
        details.append(
            error_details_pb2.PreconditionFailure(
                violations=[
                    error_details_pb2.PreconditionFailure.Violation(
                        type=each.type, subject=each.subject, description=each.description
                    )
                    for each in error.preconditions
                ]
            )
        )
    if error.quotas:
        details.append(
            error_details_pb2.QuotaFailure(
                violations=[
                    error_details_pb2.QuotaFailure.Violation(
                        subject=each.subject, description=each.description
                    )
                    for each in error.quotas
                ]
            )
        )
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(error.retry_after)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


_BY_REASON: Final[Mapping[Reason, Callable[..., IsthmusError]]] = {
    Reason.IDENTITY_INVALID: errors.Unauthenticated,
    Reason.NOT_FOUND: errors.NotFound,
    Reason.ALREADY_EXISTS: errors.AlreadyExists,
    Reason.STATE_CONFLICT: errors.StateConflict,
    Reason.ETAG_MISMATCH: errors.EtagMismatch,
    Reason.INVALID_ARGUMENT: errors.InvalidArgument,
    Reason.TERMS_INVALID: errors.TermsInvalid,
    Reason.STATEMENT_INVALID: errors.StatementInvalid,
    Reason.UNIMPLEMENTED: errors.Unimplemented,
    Reason.INTERNAL: errors.Internal,
}
_BY_CODE: Final[Mapping[grpc.StatusCode, type[IsthmusError]]] = {
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.FAILED_PRECONDITION: errors.StateConflict,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
}
_REASON_OF_CODE: Final[Mapping[grpc.StatusCode, Reason]] = {
    grpc.StatusCode.UNAUTHENTICATED: Reason.IDENTITY_INVALID,
    grpc.StatusCode.UNAVAILABLE: Reason.DEPARTMENT_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED: Reason.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.OVERLOADED,
    grpc.StatusCode.UNIMPLEMENTED: Reason.UNIMPLEMENTED,
    grpc.StatusCode.INVALID_ARGUMENT: Reason.INVALID_ARGUMENT,
}


def from_rpc_error(error: grpc.RpcError) -> IsthmusError:
    """The typed error behind a failed call. What carries no ErrorInfo of ours is typed by its status code.

    Args:
        error: what a stub raised; it is a grpc.Call too.
    """
    code, message = error.code(), error.details() or ""
    status = rpc_status.from_call(cast(grpc.Call, error))
    details = {any_.TypeName(): any_ for any_ in status.details} if status is not None else {}
    info = _unpack(details, error_details_pb2.ErrorInfo())
    if info is None or info.domain != DOMAIN:
        reason = _REASON_OF_CODE.get(code, Reason.INTERNAL)
        return _build(_BY_CODE.get(code, IsthmusError), reason, message, {})
    reason = Reason[info.reason] if info.reason in Reason.__members__ else Reason.UNSPECIFIED
    metadata = dict(info.metadata)
    known = [Reason[name] for name in metadata.pop("reasons", "").split(",") if name in Reason.__members__]
    built = _build(_type_of(reason, code, metadata), reason, message, metadata)
    built.reasons = tuple(known) or (reason,)
    _restore_details(built, details)
    return built


def _type_of(reason: Reason, code: grpc.StatusCode, metadata: Mapping[str, str]) -> type[IsthmusError]:
    if code is grpc.StatusCode.PERMISSION_DENIED and metadata.get("exchange"):
        return errors.Denied
    kind = _BY_REASON.get(reason)
    return kind if isinstance(kind, type) else _BY_CODE.get(code, IsthmusError)


def _build(kind: type[IsthmusError], reason: Reason, message: str, metadata: dict[str, str]) -> IsthmusError:
    # The subclasses' constructors write messages; this one was written by the server already.
    error = kind.__new__(kind)
    exchange = metadata.pop("exchange", "")
    IsthmusError.__init__(error, reason, message, exchange=exchange, metadata=metadata)
    return error


def _restore_details(error: IsthmusError, details: Mapping[str, any_pb2.Any]) -> None:
    bad = _unpack(details, error_details_pb2.BadRequest())
    if bad is not None:
        error.violations = tuple(
            FieldViolation(each.field, each.description) for each in bad.field_violations
        )
    failed = _unpack(details, error_details_pb2.PreconditionFailure())
    if failed is not None:
        error.preconditions = tuple(
            Precondition(each.type, each.subject, each.description) for each in failed.violations
        )
    quota = _unpack(details, error_details_pb2.QuotaFailure())
    if quota is not None:
        error.quotas = tuple(QuotaViolation(each.subject, each.description) for each in quota.violations)
    retry = _unpack(details, error_details_pb2.RetryInfo())
    if retry is not None:
        error.retry_after = timedelta(
            seconds=retry.retry_delay.seconds, microseconds=retry.retry_delay.nanos // 1000
        )


def _unpack(details: Mapping[str, any_pb2.Any], message: Any) -> Any:
    packed = details.get(message.DESCRIPTOR.full_name)
    return message if packed is not None and packed.Unpack(message) else None
