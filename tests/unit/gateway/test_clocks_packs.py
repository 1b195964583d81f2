"""Rule packs: what the law says, and that old cases keep old rules."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clocks import pack_folder
from gateway.clocks.calendar import StateCouncilCalendar
from gateway.clocks.calendar_file import CalendarYear, FileCalendar
from gateway.clocks.deadlines import due
from gateway.clocks.limits import CalendarKind, FormKind, LimitKind, RuleKind, Unit
from gateway.clocks.pack import Pack, RulePacks, UnknownPack, calendar_for
from gateway.clocks.pack_folder import load_packs

CHINA = "china-809@2025-08-01"
RULES = Path(pack_folder.__file__).parents[1] / "rules"
LOADED = load_packs()
LAW = (RULES / "china-809.toml").read_text("utf-8")


def write(folder: Path, text: str, name: str = "local.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def china() -> Pack:
    return load_packs().by_ref(CHINA)


@pytest.mark.parametrize(
    ("kind", "amount", "unit", "extension", "article"),
    [
        (LimitKind.CATALOGUE_UPDATE, 10, Unit.WORKING_DAYS, 5, "第十七条"),
        (LimitKind.CATALOGUE_REVIEW, 2, Unit.WORKING_DAYS, None, "第十七条"),
        (LimitKind.ANSWER_UNCONDITIONAL, 1, Unit.WORKING_DAYS, 10, "第二十一条"),
        (LimitKind.ANSWER_CONDITIONAL, 10, Unit.WORKING_DAYS, 10, "第二十一条"),
        (LimitKind.PROVISION, 20, Unit.WORKING_DAYS, None, "第二十二条"),
        (LimitKind.CORRECTION, 10, Unit.WORKING_DAYS, None, "第二十六条"),
        (LimitKind.USE_RECORDS, 3, Unit.YEARS, None, "第二十九条"),
    ],
)
def test_the_limits_of_the_regulation_and_their_articles(
    china: Pack, kind: LimitKind, amount: int, unit: Unit, extension: int | None, article: str
) -> None:
    limit = china.limits[kind]
    assert (limit.amount, limit.unit) == (amount, unit)
    assert (limit.extension.amount if limit.extension else None) == extension
    assert limit.article.startswith(f"《政务数据共享条例》{article}")
    if limit.extension:
        assert limit.extension.authority_consents
        assert limit.extension.article == limit.article


def test_the_regulation_regulates_nothing_else_in_days(china: Pack) -> None:
    assert LimitKind.RECTIFICATION not in china.limits
    assert LimitKind.DISPUTE not in china.limits


def test_the_duties_of_the_regulation(china: Pack) -> None:
    assert all(china.requires(kind) for kind in RuleKind)
    assert all(china.required_fields(kind) for kind in FormKind)
    assert "legal_citation" in china.required_fields(FormKind.REFUSED_ENTRY)
    assert china.supplement.notices == 1
    assert (china.calendar, china.zone) == (CalendarKind.STATE_COUNCIL, "Asia/Shanghai")


def test_the_neutral_pack_asks_less_of_everybody_and_knows_no_holidays(china: Pack) -> None:
    neutral = load_packs().at("neutral", date(2026, 9, 18))
    for kind, limit in neutral.limits.items():
        assert limit.amount >= china.limits[kind].amount
    assert not neutral.requires(RuleKind.TWO_PERSON)
    assert not neutral.requires(RuleKind.ONE_SOURCE)
    assert neutral.required_fields(FormKind.USE_RECORD) == ()
    assert calendar_for(neutral).is_working_day(date(2026, 10, 1))


def test_a_pack_counts_on_its_own_calendar_under_the_operators(china: Pack) -> None:
    received = datetime(2026, 9, 18, 12, tzinfo=china.tzinfo)
    limit = china.limits[LimitKind.ANSWER_UNCONDITIONAL]
    found = due(limit, received, calendar_for(china), zone=china.tzinfo)
    assert found is not None and found.day == date(2026, 9, 20)
    closed = CalendarYear(year=2026, source="x", holidays=(date(2026, 9, 20),), working_days=())
    operator = FileCalendar([closed])
    found = due(limit, received, calendar_for(china, operator), zone=china.tzinfo)
    assert found is not None and found.day == date(2026, 9, 21)
    assert calendar_for(china).known(date(2026, 1, 1)) == StateCouncilCalendar().known(date(2026, 1, 1))


def test_a_pack_cannot_be_changed_once_loaded(china: Pack) -> None:
    with pytest.raises(FrozenInstanceError):
        china.limits[LimitKind.PROVISION].amount = 30  # type: ignore[misc]
    with pytest.raises(TypeError):
        del china.limits[LimitKind.PROVISION]  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        china.rules[RuleKind.TWO_PERSON] = replace(china.rules[RuleKind.TWO_PERSON], required=False)  # type: ignore[index]


def test_an_old_case_keeps_the_rules_it_began_under(tmp_path: Path) -> None:
    amended = LAW.replace("effective = 2025-08-01", "effective = 2028-01-01").replace(
        "amount = 20", "amount = 15"
    )
    write(tmp_path, amended, "china-809-2028.toml")
    packs = load_packs(tmp_path)
    began = packs.at("china-809", date(2027, 12, 31)).ref
    assert began == CHINA
    assert packs.at("china-809", date(2028, 1, 1)).limits[LimitKind.PROVISION].amount == 15
    assert packs.by_ref(began).limits[LimitKind.PROVISION].amount == 20
    assert packs.refs == (CHINA, "china-809@2028-01-01", "neutral@2000-01-01")


@given(st.dates(date(2025, 8, 1), date(2060, 1, 1)))
def test_the_version_in_force_is_the_newest_that_has_begun(day: date) -> None:
    base = LOADED.by_ref(CHINA)
    days = [date(2025, 8, 1), date(2028, 1, 1), date(2031, 6, 1)]
    packs = RulePacks([replace(base, effective=each) for each in reversed(days)])
    assert packs.at("china-809", day).effective == max(each for each in days if each <= day)


def test_a_day_before_the_law_or_an_unknown_pack_is_refused_saying_what_there_is() -> None:
    packs = load_packs()
    with pytest.raises(UnknownPack, match="in force from 2025-08-01, and not yet on 2025-07-31"):
        packs.at("china-809", date(2025, 7, 31))
    with pytest.raises(UnknownPack, match="there are china-809, neutral"):
        packs.at("china", date(2026, 1, 1))
    with pytest.raises(UnknownPack, match="put back the file"):
        packs.by_ref("china-809@2025-08-02")
    with pytest.raises(ValueError, match="given twice"):
        RulePacks([packs.by_ref(CHINA), packs.by_ref(CHINA)])
