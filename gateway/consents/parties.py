"""Where several people must consent to one thing: who has, who has not, and whether they said the same. Pure."""

from collections.abc import Iterator
from typing import Final

from gateway.state.consents import ConsentRow
from isthmus.consent_statement import ConsentStatement
from isthmus.errors import FieldViolation, InvalidArgument
from isthmus.reasons import Reason

_SAME: Final = ("terms_digest", "not_before", "not_after", "max_uses")
_SAME_SETS: Final = ("purposes", "fields", "modes")


def require_party(stated: ConsentStatement, existing: ConsentRow | None) -> None:
    """Returns when the statement is by one of the parties asked, and says what the others said.

    Args:
        stated: the statement.
        existing: the request it answers, with what other parties have consented to; None when there was none.

    Raises:
        InvalidArgument: STATEMENT_INVALID; every violation is named, as `statement.{member}`.
    """
    if found := list(_violations(stated, existing)):
        raise InvalidArgument(
            found[0].field, found[0].description, others=found[1:], reason=Reason.STATEMENT_INVALID
        )


def still_missing(existing: ConsentRow | None, party: str) -> tuple[str, ...]:
    """Returns who must consent besides those who have and `party`, in the order of the request."""
    if existing is None:
        return ()
    return tuple(
        each for each in existing.required_parties if each not in (*existing.consented_parties, party)
    )


def _violations(stated: ConsentStatement, existing: ConsentRow | None) -> Iterator[FieldViolation]:
    required = existing.required_parties if existing is not None else ()
    if existing is None or not required:
        if stated.party:
            yield _of("party", "must be absent: no parties were required; RequestConsent names them")
        return
    if stated.party not in required:
        yield _of("party", f"must be one of those required: {', '.join(required)}")
    elif stated.party in existing.consented_parties:
        left = ", ".join(still_missing(existing, stated.party))
        yield _of("party", f"is {stated.party}, who has consented already; still to consent: {left}")
    if existing.consented_parties:
        yield from _differences(stated, existing)


def _differences(stated: ConsentStatement, existing: ConsentRow) -> Iterator[FieldViolation]:
    said = " and ".join(existing.consented_parties)
    for member in _SAME:
        if getattr(stated, member) != getattr(existing, member):
            yield _of(member, f"must be what {said} consented to")
    for member in _SAME_SETS:
        if set(getattr(stated, member)) != set(getattr(existing, member)):
            yield _of(member, f"must be what {said} consented to: {', '.join(getattr(existing, member))}")


def _of(member: str, description: str) -> FieldViolation:
    return FieldViolation(f"statement.{member}", description)
