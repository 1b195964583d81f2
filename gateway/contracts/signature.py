"""What an officer's signature must say to count under a version of a contract. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.state.contracts import ContractRow
from gateway.state.statements import MAX_SKEW_SECONDS
from isthmus.canonical import canonical_json
from isthmus.errors import StatementInvalid, TermsInvalid
from isthmus.terms import parse_rfc3339

_MEMBERS: Final = frozenset({"contract", "department", "signed_at", "terms"})
_SKEW: Final = timedelta(seconds=MAX_SKEW_SECONDS)


def signed_at_of(payload: Mapping[str, Any], row: ContractRow, department: str, now: datetime) -> datetime:
    """Returns when a statement was signed, if it is a signature of `department` under this very version.

    Args:
        payload: what the statement says; its signer is checked already.
        row: the version to sign.
        department: `departments/{department}` of the signer.
        now: the present time.

    Raises:
        StatementInvalid: it says anything else.
    """
    if payload.keys() != _MEMBERS:
        raise StatementInvalid(f"must have exactly the members {', '.join(sorted(_MEMBERS))}")
    if payload["contract"] != row.full_name:
        raise StatementInvalid(f"is about another contract or version than {row.full_name}")
    if payload["department"] != department:
        raise StatementInvalid(f"is a signature for another department than the signer's own, {department}")
    # Byte for byte: what was signed is what is stored, whatever two readers of JSON would make of it.
    if canonical_json(payload["terms"]).decode() != row.terms_json:
        raise StatementInvalid(
            f"holds other terms than {row.full_name}; read its terms_json again and sign that"
        )
    return _moment(payload["signed_at"], row, now)


def _moment(text: object, row: ContractRow, now: datetime) -> datetime:
    try:
        at = parse_rfc3339(text if isinstance(text, str) else "", field="signed_at")
    except TermsInvalid:
        raise StatementInvalid("signed_at must be an RFC 3339 time with an offset") from None
    if not row.created_at - _SKEW <= at <= now + _SKEW:
        raise StatementInvalid(
            "signed_at must lie between the proposal and now; check the signer's clock and sign again"
        )
    return at
