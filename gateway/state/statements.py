"""Signed statements as control calls receive them."""

from typing import Final, NoReturn

from gateway.denylist import denied
from gateway.state.change import Call, Change, Control, Refusal
from isthmus.errors import PermissionDenied, StatementInvalid
from isthmus.identity import Role
from isthmus.reasons import Reason
from isthmus.statement import StatementError, StatementKind, StatementVerifier, Verified

MAX_SKEW_SECONDS: Final = 300
"""By how much two parties' clocks may differ."""


def verified_statement(
    control: Control,
    call: Call,
    token: str,
    *,
    kind: StatementKind,
    role: Role,
    verifier: StatementVerifier,
    resource: str,
) -> Verified:
    """Returns what `token` states, which the caller itself must have signed; a refusal is recorded.

    It runs before the transaction, because signatures need no lock.

    Args:
        control: records a refusal.
        call: the control call.
        token: a compact JWS.
        kind: what it must be.
        role: what its signer must be.
        verifier: knows the authorities.
        resource: what the call is about, for the record.

    Raises:
        StatementInvalid: forged, malformed, of another kind or role, or signed by somebody else.
    """
    try:
        verified = verifier.verify(token, kind=kind, expect_role=role)
    except StatementError as error:
        _refuse(control, call, f"is refused: {error}", resource)
    if verified.identity != call.identity:
        _refuse(
            control,
            call,
            f"is signed by {verified.identity.resource}, but {call.identity.resource} calls; nobody signs for another",
            resource,
        )
    return verified


def require_not_denied(change: Change, verified: Verified, resource: str) -> None:
    """Returns when the certificate that signed the statement still counts.

    Raises:
        Refusal: it was denied.
    """
    if denied(change.connection, (verified.thumbprint,)):
        error = PermissionDenied(
            Reason.CREDENTIAL_DENIED,
            f"the certificate {verified.thumbprint[:16]}… that signed the statement was denied; sign it with a new one",
        )
        raise Refusal(error, resource)


def _refuse(control: Control, call: Call, description: str, resource: str) -> NoReturn:
    def work(change: Change) -> None:
        raise Refusal(StatementInvalid(description), resource)

    control.change(call, work)
    raise AssertionError("a refusal always raises")
