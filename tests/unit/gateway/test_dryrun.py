"""Other terms and other policies on recorded exchanges: what changes, what stays, and what nobody can say."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.dryrun.past import Past
from gateway.dryrun.policy import PolicyTrial
from gateway.dryrun.report import ALLOW, DENY, MOST_EXAMPLES, MOST_KINDS, OTHERS, UNDECIDED, Report, Tried
from gateway.dryrun.terms import DECIDED_BY_TERMS, TermsTrial
from gateway.policy.engine import PolicyEngine, PolicyFile

ENGINE = PolicyEngine()
AT = datetime(2026, 9, 18, 9, 30, tzinfo=UTC)
SYSTEM = "departments/veterans/systems/benefits"
TERMS: dict[str, Any] = {
    "provider": "departments/education",
    "consumer": "departments/veterans",
    "systems": [SYSTEM],
    "dataset": "departments/education/datasets/school",
    "fields": [{"name": "姓名", "transform": "mask:1"}, {"name": "year", "transform": "plain"}],
    "purposes": ["核对在校情况", "benefit check"],
    "legal_basis": "CONSENT",
    "modes": ["QUERY", "VERIFY"],
    "not_before": "2026-01-01T00:00:00Z",
    "not_after": "2027-01-01T00:00:00Z",
    "break_glass": {"allowed": False, "systems": [], "review_within_hours": 0},
    "evidence": {"signed_requests": False},
}
ENTRY: dict[str, Any] = {
    "subject_scheme": "us.ope",
    "sharing_class": "CONDITIONAL",
    "grade": "三级",
    "fields": [{"name": "姓名", "sensitivity": "PERSONAL"}, {"name": "year", "sensitivity": "PUBLIC"}],
}
RELEASED = Past(
    exchange="exchanges/0199",
    decision="ALLOW",
    reasons=(),
    rules=(),
    policy_digest=ENGINE.digest,
    at=AT,
    base=7,
    system=SYSTEM,
    consumer="departments/veterans",
    provider="departments/education",
    dataset="departments/education/datasets/school",
    contract="contracts/edu-person",
    version=2,
    terms_digest="ab" * 32,
    mode="QUERY",
    purpose="核对在校情况",
    fields=frozenset({"姓名", "year"}),
    case_reference_given=False,
    consented=True,
    emergency=False,
)


def denied(*rules: str, **members: Any) -> Past:
    """A denial as the log keeps it: without the fields that were asked for."""
    reasons = tuple(rule.upper().replace("-", "_") for rule in rules)
    return dataclasses.replace(
        RELEASED, decision="DENY", rules=rules, reasons=reasons, fields=frozenset(), **members
    )


def by_terms(past: Past, *, recorded: dict[str, Any] | None = None, **changes: Any) -> Tried:
    trial = TermsTrial(ENGINE, {**TERMS, **changes}, timedelta(0))
    return trial.decide(past, recorded or TERMS, ENTRY)


def test_the_same_terms_change_nothing() -> None:
    assert by_terms(RELEASED) == Tried(ALLOW)
    assert by_terms(denied("contract-suspended")).decision == DENY
    assert by_terms(denied("system-not-listed", system="departments/veterans/systems/x")).decision == DENY
    assert by_terms(denied("mode-not-allowed", mode="BATCH")).decision == DENY


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"systems": ["departments/veterans/systems/other"]}, "SYSTEM_NOT_LISTED"),
        ({"purposes": ["benefit check"]}, "PURPOSE_NOT_ALLOWED"),
        ({"fields": [{"name": "year", "transform": "plain"}]}, "FIELDS_OUTSIDE_CONTRACT"),
        (
            {"fields": [{"name": "year", "transform": "plain"}, {"name": "姓名", "transform": "omit"}]},
            "FIELDS_OUTSIDE_CONTRACT",
        ),
        ({"modes": ["VERIFY"]}, "MODE_NOT_ALLOWED"),
        ({"not_before": "2026-09-18T09:30:00.001Z"}, "CONTRACT_NOT_YET_VALID"),
        ({"not_after": "2026-09-18T09:30:00Z"}, "CONTRACT_EXPIRED"),
        ({"legal_basis": "PUBLIC_TASK"}, "EVIDENCE_MISSING"),
        ({"evidence": {"signed_requests": True}}, "EVIDENCE_MISSING"),
    ],
)
def test_narrower_terms_would_have_denied_a_release(changes: dict[str, Any], reason: str) -> None:
    assert by_terms(RELEASED, **changes) == Tried(DENY, (reason,))


def test_other_terms_name_every_reason_at_once() -> None:
    found = by_terms(RELEASED, modes=["VERIFY"], purposes=["benefit check"])
    assert set(found.reasons) == {"MODE_NOT_ALLOWED", "PURPOSE_NOT_ALLOWED"}


def test_a_release_without_a_recorded_consent_fails_where_consent_becomes_the_basis() -> None:
    duty = {**TERMS, "legal_basis": "LEGAL_OBLIGATION"}
    past = dataclasses.replace(RELEASED, consented=False, case_reference_given=True)
    assert by_terms(past, recorded=duty) == Tried(DENY, ("CONSENT_MISSING",))
    assert by_terms(past, recorded=duty, legal_basis="PUBLIC_TASK") == Tried(ALLOW)


def test_an_emergency_use_stands_only_where_the_terms_allow_it_to_the_system() -> None:
    past = dataclasses.replace(RELEASED, consented=False, emergency=True)
    glass = {"allowed": True, "systems": [SYSTEM], "review_within_hours": 24}
    recorded = {**TERMS, "break_glass": glass}
    assert by_terms(past, recorded=recorded, break_glass=glass) == Tried(ALLOW)
    assert by_terms(past, recorded=recorded) == Tried(DENY, ("BREAK_GLASS_NOT_ALLOWED", "CONSENT_MISSING"))
    others = {**glass, "systems": ["departments/veterans/systems/x"]}
    assert by_terms(past, recorded=recorded, break_glass=others).decision == DENY


def test_wider_terms_would_have_allowed_what_only_terms_refused() -> None:
    other = "departments/veterans/systems/x"
    assert by_terms(denied("system-not-listed", system=other), systems=[SYSTEM, other]) == Tried(ALLOW)
    assert by_terms(denied("mode-not-allowed", mode="BATCH"), modes=["QUERY", "BATCH"]) == Tried(ALLOW)
    late = denied("contract-expired", at=datetime(2027, 2, 1, tzinfo=UTC))
    assert by_terms(late, not_after="2028-01-01T00:00:00Z") == Tried(ALLOW)


def test_terms_that_allow_emergencies_would_have_opened_to_one() -> None:
    glass = {"allowed": True, "systems": [SYSTEM], "review_within_hours": 24}
    past = denied("break-glass-not-allowed", "consent-missing", emergency=True, consented=False)
    assert by_terms(past, break_glass=glass).decision == ALLOW
    assert by_terms(past, break_glass={**glass, "systems": []}).decision == DENY
    assert by_terms(denied("consent-missing"), break_glass=glass).decision == DENY, "it was no emergency"


def test_a_consent_that_failed_matters_only_while_consent_is_the_basis() -> None:
    past = denied("consent-withdrawn", case_reference_given=True)
    assert by_terms(past).decision == DENY
    assert by_terms(past, legal_basis="PUBLIC_TASK") == Tried(ALLOW)


def test_what_terms_do_not_decide_stays_refused() -> None:
    for rule in ("credential-denied", "contract-suspended", "contract-ended", "dataset-unavailable"):
        assert by_terms(denied(rule, "mode-not-allowed"), modes=["QUERY"]).decision == DENY
    for rule in ("quota-exhausted", "provider-veto", "office-hours", "policy-error"):
        assert by_terms(denied(rule)).decision == DENY
    assert by_terms(dataclasses.replace(denied(), rules=())).decision == DENY


def test_what_the_log_does_not_hold_is_undecided_and_not_guessed() -> None:
    wide: dict[str, Any] = {"purposes": [*TERMS["purposes"], "another"], "modes": ["QUERY", "BATCH"]}
    assert by_terms(denied("purpose-not-allowed", purpose=""), **wide) == Tried(UNDECIDED)
    assert by_terms(denied("fields-outside-contract"), **wide) == Tried(UNDECIDED)
    fewer = [{"name": "year", "transform": "plain"}]
    assert by_terms(denied("mode-not-allowed", mode="BATCH"), **wide, fields=fewer) == Tried(UNDECIDED)
    # But what is refused whatever was asked for is refused.
    assert by_terms(denied("fields-outside-contract", mode="BATCH"), modes=["QUERY"]).decision == DENY


def test_a_local_rule_that_came_later_is_not_blamed_on_the_terms() -> None:
    engine = PolicyEngine([local("hours", "context.hour < 10")])
    trial = TermsTrial(engine, {**TERMS, "modes": ["VERIFY"]}, timedelta(0))
    assert trial.decide(RELEASED, TERMS, ENTRY) == Tried(DENY, ("MODE_NOT_ALLOWED",))
    assert TermsTrial(engine, TERMS, timedelta(0)).decide(RELEASED, TERMS, ENTRY) == Tried(ALLOW)


def test_every_rule_that_terms_decide_is_a_rule_of_the_policy() -> None:
    assert not DECIDED_BY_TERMS - PolicyTrial([], [], offset=timedelta(0))._fixed


# ---- Another policy


def local(name: str, condition: str, reason: str = "PURPOSE_NOT_ALLOWED") -> PolicyFile:
    text = f'@id("{name}") @reason("{reason}") forbid (principal, action, resource) when {{ {condition} }};'
    return PolicyFile(f"{name}.cedar", text)


HOURS = local("hours", "context.hour < 10")
GRADE = local("grade", 'context has dataset && context.dataset.grade == "三级"', "DATASET_REFUSED")


def by_policy(past: Past, current: list[PolicyFile], proposed: list[PolicyFile], *, hours: int = 0) -> Tried:
    return PolicyTrial(current, proposed, offset=timedelta(hours=hours)).decide(past, TERMS, ENTRY)


def test_no_added_rules_change_nothing() -> None:
    assert by_policy(RELEASED, [], []) == Tried(ALLOW)


def test_an_emergency_release_is_no_release_without_consent() -> None:
    glass = {"allowed": True, "systems": [SYSTEM], "review_within_hours": 24}
    past = dataclasses.replace(RELEASED, consented=False, emergency=True)
    trial = PolicyTrial([], [], offset=timedelta(0))
    assert trial.decide(past, {**TERMS, "break_glass": glass}, ENTRY) == Tried(ALLOW)


def test_a_new_rule_would_have_denied_by_the_clock_of_the_deployment_or_the_entry_of_that_day() -> None:
    assert by_policy(RELEASED, [], [HOURS]) == Tried(DENY, ("PURPOSE_NOT_ALLOWED",))
    assert by_policy(RELEASED, [], [HOURS], hours=8) == Tried(ALLOW)
    assert by_policy(RELEASED, [], [GRADE, HOURS]).reasons == ("DATASET_REFUSED", "PURPOSE_NOT_ALLOWED")
    personal = local("personal", 'context has dataset && context.dataset.sensitivities.contains("PERSONAL")')
    assert by_policy(RELEASED, [], [personal]).decision == DENY
    only_year = dataclasses.replace(RELEASED, fields=frozenset({"year"}))
    assert by_policy(only_year, [], [personal]) == Tried(ALLOW)


def test_what_a_rule_of_the_software_refused_stays_refused() -> None:
    assert by_policy(denied("consent-missing"), [], [HOURS]).decision == DENY
    assert by_policy(denied("provider-veto"), [HOURS], []).decision == DENY
    assert by_policy(denied("hours", "mode-not-allowed"), [HOURS], []).decision == DENY


def test_taking_a_local_rule_away_allows_what_it_alone_refused() -> None:
    past = denied("hours", policy_digest=PolicyEngine([HOURS, GRADE]).digest)
    assert by_policy(past, [HOURS, GRADE], [GRADE]) == Tried(ALLOW)
    assert by_policy(past, [HOURS, GRADE], [HOURS]).decision == DENY, "it is still there"


def test_a_denial_by_another_policy_or_a_rewritten_rule_is_undecided() -> None:
    digest = PolicyEngine([HOURS]).digest
    assert by_policy(denied("hours"), [HOURS], []) == Tried(UNDECIDED), "decided by another policy"
    past = denied("hours", policy_digest=digest)
    assert by_policy(past, [HOURS], [local("hours", "context.hour < 9")]) == Tried(UNDECIDED)
    assert by_policy(past, [HOURS], [GRADE]) == Tried(UNDECIDED), "a new rule might refuse it"


# ---- The report


def test_a_report_counts_by_kind_and_keeps_a_few_examples_of_each() -> None:
    report = Report()
    for number in range(8):
        past = dataclasses.replace(RELEASED, exchange=f"exchanges/{number}")
        report.add(past, Tried(DENY, ("B", "A")))
    report.add(denied("mode-not-allowed"), Tried(ALLOW))
    report.add(RELEASED, Tried(ALLOW))
    report.add(denied("mode-not-allowed"), Tried(UNDECIDED))
    found = report.message()
    assert (found.tried, found.changed, found.undecided) == (11, 9, 1)
    first, second = found.changes
    assert (first.recorded, first.tried, first.reasons, first.count) == ("ALLOW", "DENY", "A,B", 8)
    assert list(first.examples) == [f"exchanges/{number}" for number in range(MOST_EXAMPLES)]
    assert (second.recorded, second.tried, second.reasons) == ("DENY", "ALLOW", "MODE_NOT_ALLOWED")


def test_a_report_is_bounded_whatever_the_past_holds() -> None:
    report = Report()
    for number in range(MOST_KINDS + 50):
        report.add(RELEASED, Tried(DENY, (f"R{number}",)))
    found = report.message()
    assert (
        len(found.changes) == MOST_KINDS + 1 and sum(each.count for each in found.changes) == MOST_KINDS + 50
    )
    assert {each.reasons: each.count for each in found.changes}[OTHERS] == 50
