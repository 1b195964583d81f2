"""What a consent may say, given the contract it is about. Pure; every violation is named."""

import re
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Final

from gateway.state.contracts import ContractRow
from gateway.state.statements import MAX_SKEW_SECONDS
from isthmus.consent_statement import ConsentStatement
from isthmus.errors import FieldViolation, InvalidArgument
from isthmus.reasons import Reason
from isthmus.terms import rfc3339

MAX_AGE: Final = timedelta(days=1)
"""How old a statement may be when it is recorded. Older ones could resurrect what a person said before."""

_SHA256: Final = re.compile("[0-9a-f]{64}")
_LANGUAGE: Final = re.compile("[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_SKEW: Final = timedelta(seconds=MAX_SKEW_SECONDS)


def require_within(stated: ConsentStatement, contract: ContractRow, now: datetime) -> None:
    """Returns when the consent asks for no more than the contract allows, and is in order by itself.

    Raises:
        InvalidArgument: STATEMENT_INVALID; every violation is named, as `statement.{member}`.
    """
    if found := list(violations(stated, contract, now)):
        raise InvalidArgument(
            found[0].field, found[0].description, others=found[1:], reason=Reason.STATEMENT_INVALID
        )


def violations(stated: ConsentStatement, contract: ContractRow, now: datetime) -> Iterator[FieldViolation]:
    """Yields everything that stands in the way of recording the consent."""
    if stated.terms_digest != contract.terms_digest:
        yield _of(
            "terms_digest", f"is not that of {contract.full_name}; show the person the terms as they are"
        )
    # An omitted field is never released, so nobody can consent to its release.
    released = [each["name"] for each in contract.terms["fields"] if each["transform"] != "omit"]
    yield from _outside("purposes", stated.purposes, contract.terms["purposes"])
    yield from _outside("fields", stated.fields, released)
    yield from _outside("modes", stated.modes, contract.terms["modes"])
    yield from _of_period(stated, contract, now)
    yield from _of_age(stated, now)
    yield from _of_evidence(stated)
    yield from _of_notice(stated)
    if stated.stated_at > now + _SKEW:
        yield _of("stated_at", "lies in the future; check the portal's clock")
    elif stated.stated_at < now - MAX_AGE - _SKEW:
        yield _of("stated_at", "is more than a day ago; ask the person again and state it anew")


def _outside(member: str, given: Collection[str], allowed: Collection[str]) -> Iterator[FieldViolation]:
    if extra := [each for each in given if each not in allowed]:
        yield _of(
            member, f"go beyond the contract by {', '.join(extra[:20])}; it allows {', '.join(allowed)}"
        )


def _of_period(stated: ConsentStatement, contract: ContractRow, now: datetime) -> Iterator[FieldViolation]:
    if stated.not_after <= stated.not_before:
        yield _of("not_after", "must be later than not_before")
    if stated.not_after <= now:
        yield _of("not_after", "is over already")
    if stated.not_before < contract.not_before:
        yield _of("not_before", f"is before the contract begins, {rfc3339(contract.not_before)}")
    if stated.not_after > contract.not_after:
        yield _of("not_after", f"is after the contract ends, {rfc3339(contract.not_after)}")


def _of_age(stated: ConsentStatement, now: datetime) -> Iterator[FieldViolation]:
    """A guardian speaks for a minor until the person comes of age (Civil Code articles 17 and 27)."""
    if stated.of_age_at is None:
        return
    if stated.grantor != "GUARDIAN":
        yield _of("of_age_at", f"is about a guardian's consent, and the grantor is {stated.grantor}")
    if stated.of_age_at <= max(now, stated.not_before):
        yield _of("of_age_at", "is past when the consent begins; the person consents for themselves")


def _of_evidence(stated: ConsentStatement) -> Iterator[FieldViolation]:
    """Who speaks for another, or enters what another said, keeps evidence of it (PIPL articles 14 and 31)."""
    if stated.evidence_reference.strip():
        return
    if stated.grantor == "GUARDIAN" and stated.of_age_at is None:
        yield _of(
            "evidence_reference",
            "is required when the grantor is GUARDIAN: the proof of authority; a guardianship that does not end when "
            "the person comes of age rests on a ruling",
        )
    elif stated.grantor != "SELF":
        yield _of(
            "evidence_reference", f"is required when the grantor is {stated.grantor}: the proof of authority"
        )
    elif stated.collection != "ONLINE":
        yield _of(
            "evidence_reference", f"is required for {stated.collection}: the form or the counter's case"
        )


def _of_notice(stated: ConsentStatement) -> Iterator[FieldViolation]:
    """The text a person was shown is part of what they consented to (PIPL articles 14 and 17)."""
    if not _SHA256.fullmatch(stated.notice["sha256"]):
        yield _of(
            "notice.sha256", "must be the SHA-256 of the text that was shown, in lower-case hexadecimal"
        )
    if not _LANGUAGE.fullmatch(stated.notice["language"]):
        yield _of("notice.language", "must be a BCP 47 language tag such as zh-CN")


def _of(member: str, description: str) -> FieldViolation:
    return FieldViolation(f"statement.{member}", description)
