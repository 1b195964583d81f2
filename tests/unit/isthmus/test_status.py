"""Errors survive the wire: reason, words, details and type (AIP-193)."""

from datetime import timedelta
from typing import Any

import grpc
import pytest

from isthmus import errors
from isthmus.errors import IsthmusError, QuotaViolation, Reason
from isthmus.reasons import status_code
from isthmus.status import from_rpc_error, to_status
from isthmus.v1 import reason_pb2


class Received(grpc.RpcError):
    """A failed call, as a stub raises it."""

    def __init__(self, status: Any) -> None:
        self.status = status

    def code(self) -> Any:
        return self.status.code

    def details(self) -> Any:
        return self.status.details

    def trailing_metadata(self) -> Any:
        return self.status.trailing_metadata


def over_the_wire(error: IsthmusError) -> IsthmusError:
    return from_rpc_error(Received(to_status(error)))


def test_every_reason_of_the_proto_has_its_python_twin() -> None:
    proto = {name.removeprefix("REASON_"): number for name, number in reason_pb2.Reason.items()}
    assert {reason.name: reason.value for reason in Reason} == proto


@pytest.mark.parametrize(
    "error",
    [
        errors.Unauthenticated("no"),
        errors.PermissionDenied(Reason.ROLE_NOT_ALLOWED, "no"),
        errors.Denied(Reason.CONSENT_MISSING, "no", exchange="exchanges/x"),
        errors.InvalidArgument("subject.id", "must not be empty"),
        errors.TermsInvalid("terms.fields[0]", "is not in the dataset"),
        errors.StatementInvalid("is signed by somebody else"),
        errors.NotFound("contracts/a"),
        errors.AlreadyExists("contracts/a"),
        errors.StateConflict("contracts/a@1", "is TERMINATED"),
        errors.EtagMismatch("contracts/a@1"),
        errors.ResourceExhausted(Reason.QUOTA_EXHAUSTED, "no"),
        errors.Unavailable(Reason.LEDGER_UNAVAILABLE, "no"),
        errors.DeadlineExceeded(Reason.DEADLINE_EXCEEDED, "no"),
        errors.Cancelled(Reason.CANCELLED, "no"),
        errors.Unimplemented("Stream"),
        errors.Internal("exchanges/x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_the_type_it_left(error: IsthmusError) -> None:
    got = over_the_wire(error)
    assert type(got) is type(error)
    assert (got.reason, got.message, got.reasons, got.exchange) == (
        error.reason,
        error.message,
        error.reasons,
        error.exchange,
    )
    assert (got.violations, got.preconditions, got.metadata) == (
        error.violations,
        error.preconditions,
        error.metadata,
    )


def test_all_failed_rules_and_the_time_to_retry_arrive() -> None:
    error = errors.ResourceExhausted(
        Reason.QUOTA_EXHAUSTED,
        "配额已用完",
        exchange="exchanges/x",
        reasons=[Reason.QUOTA_EXHAUSTED, Reason.CONSENT_MISSING],
        retry_after=timedelta(seconds=90, milliseconds=5),
    )
    error.quotas = (QuotaViolation("contracts/a", "1000 calls a day"),)
    got = over_the_wire(error)
    assert got.message == "配额已用完"
    assert got.reasons == (Reason.QUOTA_EXHAUSTED, Reason.CONSENT_MISSING)
    assert got.retry_after == timedelta(seconds=90, milliseconds=5)
    assert got.quotas == error.quotas


def test_every_reason_has_a_status_that_is_not_ok() -> None:
    assert all(status_code(reason) is not grpc.StatusCode.OK for reason in Reason)
    assert status_code(Reason.CONSENT_WITHDRAWN) is grpc.StatusCode.PERMISSION_DENIED
