"""What the demonstration is made of: data that are recognised or invented, and stories that cover what they must."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from isthmus.demo import sources
from isthmus.demo.actions import ALLOW, Expected, denied
from isthmus.demo.errors import DemoError
from isthmus.demo.outcome import ERROR, Foretold, Outcome, differences, refusal
from isthmus.demo.scenario import Scenario
from isthmus.demo.sources.population import company_id, populate, resident_id
from isthmus.demo.story import own_contracts, story
from isthmus.errors import Denied, Reason, Unavailable
from isthmus.terms import document_to_terms

_TODAY = date(2026, 11, 23)

_EVERYWHERE = {
    "FIELDS_OUTSIDE_CONTRACT",
    "PURPOSE_NOT_ALLOWED",
    "NO_CONTRACT",
    "CONTRACT_NOT_SIGNED",
    "CONTRACT_SUSPENDED",
    "CONTRACT_EXPIRED",
    "SYSTEM_NOT_LISTED",
    "ROLE_NOT_ALLOWED",
    "HANDSHAKE_REFUSED",
    "TERMS_INVALID",
    "QUOTA_EXHAUSTED",
}
_WITH_PERSONS = {"CONSENT_MISSING", "CONSENT_PURPOSE", "CONSENT_WITHDRAWN", "CONSENT_PAUSED"}


@pytest.fixture
def invented(tmp_path: Path) -> Scenario:
    return sources.load(None, tmp_path, seed=1, today=_TODAY)


def _reasons(scenario: Scenario) -> set[str]:
    return {reason for step in story(scenario) if step.expected for reason in step.expected.reasons}


def test_the_story_of_persons_meets_every_refusal_of_contracts_and_consents(invented: Scenario) -> None:
    assert _reasons(invented) >= _EVERYWHERE | _WITH_PERSONS


def test_the_story_allows_verifies_masks_and_knows_what_not_knowing_is(invented: Scenario) -> None:
    expected = [step.expected for step in story(invented) if step.expected]
    assert {each.verdict for each in expected} >= {"YES", "NO"}
    assert any(each.known is False and each.decision == ALLOW for each in expected)
    assert any("mask:" in how for how in invented.cast.main.fields.values())
    assert any("bucket:" in how for each in invented.contracts for how in each.fields.values())
    assert any(each.grantor == "GUARDIAN" and each.evidence_reference for each in invented.consents)


def test_every_contract_is_readable_as_terms(invented: Scenario) -> None:
    for contract in (*invented.contracts, *own_contracts(invented.cast), invented.cast.refused):
        terms = document_to_terms(contract.document(datetime(2026, 11, 23, tzinfo=UTC)))
        assert terms.dataset.endswith(contract.dataset)


def test_the_same_seed_invents_the_same_people_and_another_seed_others() -> None:
    assert populate(7, today=_TODAY) == populate(7, today=_TODAY)
    assert populate(7, today=_TODAY) != populate(8, today=_TODAY)


def test_minors_have_guardians_among_the_adults() -> None:
    people = populate(3, today=_TODAY)
    assert {each.guardian for each in people.minors} <= {each.id for each in people.adults}
    assert all((_TODAY - each.born).days < 16 * 366 for each in people.minors)
    assert all((_TODAY - each.born).days >= 18 * 365 for each in people.adults)


def test_invented_numbers_have_valid_check_digits_and_an_area_that_no_place_has() -> None:
    # GB 11643-1999, annex A gives 110105194912310 02X with check character X; ours are of area 990001.
    number = resident_id(date(1949, 12, 31), 2)
    weights = [2 ** (17 - place) % 11 for place in range(17)]
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], weights, strict=True))
    assert (total + (10 if number[17] == "X" else int(number[17]))) % 11 == 1
    assert number.startswith("990001")
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    code = company_id(42)
    checked = sum(alphabet.index(char) * pow(3, place, 31) for place, char in enumerate(code[:17]))
    assert (checked + alphabet.index(code[17])) % 31 == 0


def test_a_folder_is_recognised_by_its_files_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "us_gi_bill").mkdir()
    with pytest.raises(DemoError, match="knows us_gi_bill by"):
        sources.load(tmp_path / "us_gi_bill", tmp_path, seed=1, today=_TODAY)


def test_a_folder_that_does_not_exist_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="is not a directory"):
        sources.load(tmp_path / "none", tmp_path, seed=1, today=_TODAY)


@pytest.mark.parametrize(
    ("expected", "outcome", "what"),
    [
        (Expected(), Outcome(decision="DENY", reasons=frozenset({"NO_CONTRACT"})), "decision"),
        (denied("NO_CONTRACT"), Outcome(decision="DENY", reasons=frozenset({"CONSENT_MISSING"})), "reasons"),
        (
            denied("NO_CONTRACT"),
            Outcome(decision="DENY", reasons=frozenset({"NO_CONTRACT", "CONSENT_MISSING"})),
            "reasons",
        ),
        (Expected(known=False), Outcome(decision=ALLOW, known=True), "known"),
        (Expected(verdict="YES"), Outcome(decision=ALLOW, verdict="UNKNOWN"), "verdict"),
        (Expected(shows={"a": r"\*+1"}), Outcome(decision=ALLOW, rows=({"a": "981"},)), "of the form"),
        (Expected(shows={"a": ".+"}), Outcome(decision=ALLOW), "no row"),
        (Expected(shows={"a": ".+"}), Outcome(decision=ALLOW, rows=({"a": "x"}, {"a": None})), "of the form"),
        (
            Expected(),
            Outcome(decision=ALLOW, explained=Foretold("DENY", frozenset({"NO_CONTRACT"}))),
            "Explain",
        ),
        (denied("TERMS_INVALID", says="不予共享"), Outcome(decision="DENY", words="no"), "words"),
    ],
)
def test_whatever_differs_from_the_story_is_noticed(expected: Expected, outcome: Outcome, what: str) -> None:
    assert any(what in each for each in differences(expected, outcome))


def test_a_released_value_that_should_be_masked_is_not_repeated_in_the_complaint() -> None:
    found = differences(Expected(shows={"name": r"\*+"}), Outcome(decision=ALLOW, rows=({"name": "李梅"},)))
    assert found and "李梅" not in "".join(found)


def test_a_technical_failure_never_passes_for_a_denial() -> None:
    assert refusal(Unavailable(Reason.LEDGER_UNAVAILABLE, "down")).decision == ERROR
    assert refusal(Denied(Reason.NO_CONTRACT, "none")).decision == "DENY"
