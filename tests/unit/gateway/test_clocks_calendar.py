"""Which days are worked, and that a year without data is assumed visibly and never fatal."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import chinese_calendar  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clocks.calendar import LayeredCalendar, StateCouncilCalendar, WeekdayCalendar, is_weekday
from gateway.clocks.calendar_file import CalendarYear, FileCalendar, load_calendar
from isthmus.config import ConfigError

NOTICE_2027 = """
year = 2027
source = "国务院办公厅关于2027年部分节假日安排的通知"
holidays = [2027-01-01, 2027-02-05, 2027-02-08]
working_days = [2027-02-07]
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_the_state_council_calendar_agrees_with_its_source_on_every_day_there_is_data_for() -> None:
    calendar = StateCouncilCalendar()
    assert calendar.years >= set(range(2004, 2027))
    day = date(min(calendar.years), 1, 1)
    while day.year in calendar.years:
        assert calendar.known(day)
        assert calendar.is_working_day(day) == chinese_calendar.is_workday(day), day
        day += timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "worked"),
    [
        (date(2026, 9, 20), True),  # a Sunday, made up
        (date(2026, 9, 25), False),  # a Friday, Mid-Autumn
        (date(2026, 10, 1), False),
        (date(2026, 10, 8), True),
        (date(2026, 10, 10), True),  # a Saturday, made up
        (date(2026, 2, 14), True),  # a Saturday, made up
        (date(2026, 2, 28), True),  # a Saturday, made up
    ],
)
def test_holidays_and_make_up_days_of_2026(day: date, worked: bool) -> None:
    assert StateCouncilCalendar().is_working_day(day) is worked


@given(st.dates())
def test_no_calendar_fails_for_any_date_and_an_unknown_one_is_a_plain_weekday(day: date) -> None:
    official, weekdays = StateCouncilCalendar(), WeekdayCalendar()
    for calendar in (official, weekdays, LayeredCalendar(()), LayeredCalendar((official, weekdays))):
        if not calendar.known(day):
            assert calendar.is_working_day(day) == is_weekday(day)
    assert official.known(day) == (day.year in official.years)
    assert weekdays.known(day)
    assert not LayeredCalendar(()).known(day)


def test_an_operators_file_goes_before_the_official_data_and_fills_a_year_it_lacks(tmp_path: Path) -> None:
    write(tmp_path, "2027.toml", NOTICE_2027)
    write(
        tmp_path,
        "2026.toml",
        "year = 2026\nsource = '台风停工'\nholidays = [2026-09-21]\nworking_days = []\n",
    )
    operator = load_calendar(tmp_path)
    calendar = LayeredCalendar((operator, StateCouncilCalendar()))
    assert calendar.known(date(2027, 5, 5)) and not calendar.known(date(2028, 5, 5))
    assert calendar.is_working_day(date(2027, 2, 7))  # a Sunday
    assert not calendar.is_working_day(date(2027, 2, 5))  # a Friday
    assert not calendar.is_working_day(date(2026, 9, 21))
    # The whole year is the operator's, so the official make-up day is gone with it.
    assert not calendar.is_working_day(date(2026, 9, 20))
    assert not calendar.is_working_day(date(2025, 10, 1))
    assert operator.sources == {2026: "台风停工", 2027: "国务院办公厅关于2027年部分节假日安排的通知"}


@pytest.mark.parametrize(
    ("old", "new", "key", "problem"),
    [
        ("2027-02-07]", "2027-02-09]", "", "2027-02-09 is a Monday to Friday"),
        ("2027-01-01", "2026-01-01", "", "holidays: 2026-01-01 is not in 2027"),
        ("2027-01-01", "2027-02-05", "", "holidays: 2027-02-05 is there 2 times"),
        ("2027-01-01", "2027-02-07", "", "2027-02-07 is both a holiday and a working day"),
        ("2027-01-01", "2027-01-01T00:00:00", "holidays.0", "must be a date"),
        ("2027-01-01", "'2027-01-01'", "holidays.0", "must be a date"),
        ("2027-01-01", "2027-02-30", "", "is not TOML"),
        ("year = 2027", "year = 27", "", "year must be from 1949 to 2999"),
        ("year = 2027", "year = true", "year", "must be a whole number"),
        ("year = 2027", "", "year", "is missing"),
        ("holidays", "holiday", "holiday", "did you mean holidays?"),
        ("国务院办公厅关于2027年部分节假日安排的通知", "  ", "", "source must name the notice"),
        ("国务院办公厅", "国" * 500, "", "source must name the notice"),
    ],
)
def test_a_calendar_file_that_does_not_fit_is_refused_with_file_key_and_remedy(
    tmp_path: Path, old: str, new: str, key: str, problem: str
) -> None:
    assert old in NOTICE_2027
    path = write(tmp_path, "2027.toml", NOTICE_2027.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        load_calendar(tmp_path)
    assert (refused.value.source, refused.value.key) == (str(path), key)
    assert problem in str(refused.value)


def test_two_files_for_one_year_are_refused_naming_both(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", NOTICE_2027)
    second = write(tmp_path, "b.toml", NOTICE_2027)
    with pytest.raises(ConfigError, match=r"2027 is in a\.toml too") as refused:
        load_calendar(tmp_path)
    assert refused.value.source == str(second)


def test_what_is_loaded_is_bounded(tmp_path: Path) -> None:
    days = tuple(date(2027, 1, 1) + timedelta(days=n) for n in range(201))
    with pytest.raises(ValueError, match="at most 200"):
        CalendarYear(year=2027, source="x", holidays=days, working_days=())
    for year in range(2000, 2101):
        write(tmp_path, f"{year}.toml", f"year = {year}\nsource = 'x'\nholidays = []\nworking_days = []\n")
    with pytest.raises(ConfigError, match="at most 100"):
        load_calendar(tmp_path)
    with pytest.raises(ConfigError, match="is no folder"):
        load_calendar(tmp_path / "absent")


def test_a_year_given_twice_in_memory_is_refused() -> None:
    year = CalendarYear(year=2027, source="x", holidays=(), working_days=())
    with pytest.raises(ValueError, match="2027 is given twice"):
        FileCalendar([year, year])
