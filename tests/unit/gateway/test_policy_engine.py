"""The engine fails closed, and a deployment's own files can only forbid."""

import dataclasses
from pathlib import Path

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.engine import PolicyEngine, PolicyFile, PolicyInvalid, load_additions
from gateway.policy.facts import Facts
from isthmus.reasons import Reason

NIGHT = """
@id("night") @reason("MODE_NOT_ALLOWED")
@explanation("夜间不提供查询") @remedy("ask between 8 and 18 hours")
forbid (principal, action, resource) when { context.hour < 8 || context.hour >= 18 };
"""
FACTS = Facts(
    system="departments/veterans/systems/benefits",
    consumer="departments/veterans",
    contract_name="contracts/x",
    mode="QUERY",
    purpose="p",
    fields=frozenset({"a"}),
    scheme="us.ope",
    hour=3,
    weekday=3,
)


def with_addition(text: str) -> PolicyEngine:
    return PolicyEngine([PolicyFile("local.cedar", text)])


def test_a_local_forbid_refuses_with_its_own_id_reason_and_words() -> None:
    ruling = with_addition(NIGHT).decide(FACTS)
    assert [rule.id for rule in ruling.rules] == ["no-contract", "night"]
    assert ruling.reasons == (Reason.NO_CONTRACT, Reason.MODE_NOT_ALLOWED)
    assert ruling.failed_rules()[1].explanation == "夜间不提供查询"
    day = with_addition(NIGHT).decide(dataclasses.replace(FACTS, hour=9))
    assert [rule.id for rule in day.rules] == ["no-contract"]


def test_a_local_rule_without_words_still_says_whom_to_ask() -> None:
    text = '@id("x") @reason("POLICY_ERROR") forbid (principal, action, resource);'
    failed = with_addition(text).decide(FACTS).failed_rules()[1]
    assert "deployment" in failed.explanation and failed.remedy


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('@id("x") permit (principal, action, resource);', "only forbid"),
        ('@reason("NO_CONTRACT") forbid (principal, action, resource);', "@id"),
        ('@id("no-contract") @reason("NO_CONTRACT") forbid (principal, action, resource);', "@id"),
        ('@id("policy-error") @reason("NO_CONTRACT") forbid (principal, action, resource);', "@id"),
        ('@id("x") forbid (principal, action, resource);', "@reason"),
        ('@id("x") @reason("BECAUSE") forbid (principal, action, resource);', "@reason"),
        ('@id("x") @reason("UNSPECIFIED") forbid (principal, action, resource);', "@reason"),
        (
            '@id("x") @reason("NO_CONTRACT") forbid (principal, action, resource) when { context.hoour > 8 };',
            "x does not fit",
        ),
        (
            '@id("x") @reason("NO_CONTRACT") forbid (principal, action, resource) when { context.consent.over };',
            "x does not fit",
        ),
        ('@id("x") @reason("NO_CONTRACT") forbid (principal == ?principal, action, resource);', "template"),
        ("forbid (principal", "local.cedar"),
    ],
)
def test_a_file_that_could_weaken_or_break_the_policy_does_not_load(text: str, complaint: str) -> None:
    with pytest.raises(PolicyInvalid, match=complaint):
        with_addition(text)


def test_a_rule_that_errs_refuses_instead_of_being_skipped() -> None:
    """Cedar skips a forbid that overflows; the engine must not."""
    text = """@id("overflow") @reason("POLICY_ERROR") forbid (principal, action, resource)
    when { context.hour * 9223372036854775807 * 2 == 0 };"""
    engine = with_addition(text)
    ruling = engine.decide(FACTS)
    assert not ruling.allowed and ruling.reasons == (Reason.NO_CONTRACT, Reason.POLICY_ERROR)


def test_an_engine_that_raises_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PolicyEngine()

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(cedarpy, "is_authorized", fail)
    assert engine.decide(FACTS).reasons == (Reason.POLICY_ERROR,)
    monkeypatch.undo()
    assert engine.decide(FACTS).reasons == (Reason.NO_CONTRACT,), "the failure was not remembered"


@given(st.text(max_size=64), st.text(max_size=64))
def test_no_text_of_a_caller_breaks_the_request(purpose: str, name: str) -> None:
    facts = dataclasses.replace(FACTS, purpose=purpose, fields=frozenset({name}), contract_name=name)
    assert ENGINE.decide(facts).reasons in ((Reason.NO_CONTRACT,), (Reason.POLICY_ERROR,))


ENGINE = PolicyEngine()


def test_the_digest_tells_policies_apart() -> None:
    digests = {
        PolicyEngine().digest,
        with_addition(NIGHT).digest,
        with_addition(NIGHT + "\n").digest,
        PolicyEngine([PolicyFile("other.cedar", NIGHT)]).digest,
    }
    assert len(digests) == 4 and PolicyEngine().digest == PolicyEngine().digest


def test_additions_are_read_from_a_folder_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.cedar").write_text(NIGHT, encoding="utf-8")
    (tmp_path / "a.cedar").write_text(NIGHT.replace("night", "夜"), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a policy")
    assert [file.name for file in load_additions(tmp_path)] == ["a.cedar", "b.cedar"]
    assert "夜" in [rule.id for rule in PolicyEngine(load_additions(tmp_path)).decide(FACTS).rules]


def test_a_folder_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_additions(tmp_path / "missing")
    (tmp_path / "bad.cedar").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyInvalid, match="UTF-8"):
        load_additions(tmp_path)
