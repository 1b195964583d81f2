"""Explain tells a person what is missing and what would make it pass, for every rule that can refuse an exchange."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from gateway.policy.engine import PolicyEngine
from gateway.policy.facts import ConsentFacts, ContractFacts, DatasetFacts, Facts
from gateway.policy.rules import _LOCAL_REMEDY, _WORDS, POLICY_ERROR, FailedRule, Rule, explain
from isthmus.reasons import Reason

ENGINE = PolicyEngine()
RULES: dict[str, Rule] = {**ENGINE._rules, POLICY_ERROR.id: POLICY_ERROR}

CONTRACT = ContractFacts(
    name="contracts/edu-person@2",
    version=2,
    terms_digest="ab" * 32,
    provider="departments/education",
    dataset="departments/education/datasets/school",
    state="ACTIVE",
    signed_by_both=True,
    begun=True,
    over=False,
    systems=frozenset({"departments/veterans/systems/benefits"}),
    purposes=frozenset({"核对在校情况"}),
    fields=frozenset({"姓名", "year"}),
    modes=frozenset({"QUERY"}),
    legal_basis="CONSENT",
)
CONSENT = ConsentFacts(
    state="ACTIVE",
    begun=True,
    over=False,
    contract=CONTRACT.name,
    terms_digest=CONTRACT.terms_digest,
    purposes=frozenset({"核对在校情况"}),
    fields=frozenset({"姓名"}),
    modes=frozenset({"QUERY"}),
)
FACTS = Facts(
    system="departments/veterans/systems/x",
    consumer="departments/veterans",
    contract_name="contracts/edu-person",
    mode="BATCH",
    purpose="110101199003072316",
    fields=frozenset({"year", "110101199003072316"}),
    scheme="us.ope",
    hour=10,
    weekday=3,
    contract=CONTRACT,
    dataset=DatasetFacts(retired=False, sharing_class="CONDITIONAL", scheme="cn.resident-id"),
    consent=CONSENT,
)


def worlds() -> Iterator[Facts]:
    """Facts with and without the parts whose presence changes the words."""
    yield FACTS
    yield dataclasses.replace(FACTS, consent=None)
    yield dataclasses.replace(FACTS, dataset=None, consent=None)
    signed = dataclasses.replace(CONTRACT, signed_requests=True, legal_basis="PUBLIC_TASK")
    yield dataclasses.replace(FACTS, contract=signed, consent=None)


def words(rule: str) -> list[FailedRule]:
    return [explain(RULES[rule], facts) for facts in worlds()]


def test_every_rule_of_the_policy_has_words_and_none_are_left_over() -> None:
    assert _WORDS.keys() == RULES.keys()


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_words_say_what_is_missing_and_what_would_make_it_pass(rule: str) -> None:
    for found in words(rule):
        assert (found.rule, found.reason) == (rule, RULES[rule].reason)
        assert len(found.explanation) > 15 and len(found.remedy) > 10
        assert "a rule of this deployment" not in found.explanation and found.remedy != _LOCAL_REMEDY
        assert found.explanation != found.remedy


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_words_repeat_nothing_that_a_caller_sent(rule: str) -> None:
    for found in words(rule):
        assert "110101199003072316" not in found.explanation + found.remedy


def test_no_two_reasons_are_told_in_the_same_words() -> None:
    said: dict[str, Reason] = {}
    for name, rule in RULES.items():
        explanation = words(name)[0].explanation
        assert said.setdefault(explanation, rule.reason) is rule.reason, explanation


def test_every_reason_a_policy_stands_for_is_one_that_the_api_knows() -> None:
    for rule in RULES.values():
        assert rule.reason in Reason and rule.reason is not Reason.UNSPECIFIED


def test_a_ruling_explains_every_rule_that_failed_and_not_the_first_alone() -> None:
    ruling = ENGINE.decide(FACTS)
    told = ruling.failed_rules()
    assert [each.rule for each in told] == [rule.id for rule in ruling.rules] and len(told) > 3
    assert {each.reason for each in told} >= {
        Reason.SYSTEM_NOT_LISTED,
        Reason.PURPOSE_NOT_ALLOWED,
        Reason.FIELDS_OUTSIDE_CONTRACT,
        Reason.MODE_NOT_ALLOWED,
        Reason.SCHEME_NOT_ALLOWED,
    }
