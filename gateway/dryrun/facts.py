"""The facts of a past exchange, built anew from its record. Pure.

What the record shows to have been in order is taken to be in order: the contract was signed and active, the
certificate not denied, a consent that is recorded covered what was asked. Only what terms and policy decide is tried.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from gateway.dryrun.past import Past
from gateway.policy.facts import BreakGlass, ConsentFacts, ContractFacts, DatasetFacts, Facts
from isthmus.terms import parse_rfc3339

_OMITTED: Final = "omit"


def facts_of(
    past: Past,
    terms: Mapping[str, Any],
    entry: Mapping[str, Any] | None,
    *,
    consented: bool,
    offset: timedelta,
) -> Facts:
    """Returns the facts of a past exchange under some terms.

    Args:
        past: what was asked, and when.
        terms: the document of the terms to decide by, the recorded ones or others.
        entry: the document of the catalogue entry at the time.
        consented: whether a consent covered what was asked.
        offset: the deployment's offset from UTC, for hour and weekday.
    """
    local, scheme = past.at + offset, str(entry["subject_scheme"]) if entry else ""
    return Facts(
        system=past.system,
        consumer=past.consumer,
        contract_name=past.contract,
        mode=past.mode,
        purpose=past.purpose,
        fields=past.fields,
        scheme=scheme,
        hour=local.hour,
        weekday=local.isoweekday(),
        case_reference_given=past.case_reference_given,
        emergency=past.emergency,
        contract=_contract(past, terms),
        dataset=_dataset(past, entry, scheme),
        consent=_consent(past) if consented else None,
    )


def fields_of(terms: Mapping[str, Any]) -> frozenset[str]:
    """The fields that terms give at all."""
    return frozenset(each["name"] for each in terms["fields"] if each["transform"] != _OMITTED)


def _contract(past: Past, terms: Mapping[str, Any]) -> ContractFacts:
    return ContractFacts(
        name=past.full_name,
        version=past.version,
        terms_digest=past.terms_digest,
        provider=past.provider,
        dataset=past.dataset,
        state="ACTIVE",
        signed_by_both=True,
        begun=past.at >= _instant(terms["not_before"]),
        over=past.at >= _instant(terms["not_after"]),
        systems=frozenset(terms["systems"]),
        purposes=frozenset(terms["purposes"]),
        fields=fields_of(terms),
        modes=frozenset(terms["modes"]),
        legal_basis=terms["legal_basis"],
        signed_requests=terms["evidence"]["signed_requests"],
        break_glass=BreakGlass(terms["break_glass"]["allowed"], frozenset(terms["break_glass"]["systems"])),
    )


@lru_cache(maxsize=256)
def _instant(text: str) -> datetime:
    return parse_rfc3339(text, field="period")


def _dataset(past: Past, entry: Mapping[str, Any] | None, scheme: str) -> DatasetFacts:
    if entry is None:
        return DatasetFacts(retired=False, sharing_class="CONDITIONAL", scheme=scheme)
    levels = [each["sensitivity"] for each in entry["fields"] if each["name"] in past.fields]
    shared = entry["sharing_class"] if entry["sharing_class"] != "REFUSED" else "CONDITIONAL"
    return DatasetFacts(
        retired=False,
        sharing_class=shared,
        scheme=scheme,
        grade=entry["grade"],
        sensitivities=frozenset("SENSITIVE" if level == "UNSPECIFIED" else level for level in levels),
    )


def _consent(past: Past) -> ConsentFacts:
    return ConsentFacts(
        state="ACTIVE",
        begun=True,
        over=False,
        contract=past.full_name,
        terms_digest=past.terms_digest,
        purposes=frozenset({past.purpose}),
        fields=past.fields,
        modes=frozenset({past.mode}),
    )
