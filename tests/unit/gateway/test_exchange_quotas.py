"""The maths of quotas, and the durable count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from gateway.quotas import (
    Counter,
    Limit,
    Use,
    debit,
    limits,
    read_usage,
    used_up,
    window_of,
    write_usage,
)
from gateway.state.schema import METADATA, quota_usage

NOW = datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC)


def quota(
    window: str = "DAY", scope: str = "CONTRACT", *, calls: int = 0, rows: int = 0
) -> dict[str, object]:
    return {"window": window, "scope": scope, "calls": calls, "rows": rows}


def of(*quotas: dict[str, object], now: datetime = NOW, token: str = "1.aa") -> tuple[Limit, ...]:
    return limits(quotas, contract="contracts/x@1", system="departments/d/systems/s", token=token, now=now)


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("MINUTE", (2026, 12, 31, 23, 59), (2027, 1, 1, 0, 0)),
        ("HOUR", (2026, 12, 31, 23, 0), (2027, 1, 1, 0, 0)),
        ("DAY", (2026, 12, 31, 0, 0), (2027, 1, 1, 0, 0)),
        ("MONTH", (2026, 12, 1, 0, 0), (2027, 1, 1, 0, 0)),
    ],
)
def test_windows_follow_the_utc_calendar(window: str, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    assert window_of(window, NOW) == (datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))  # type: ignore[arg-type,misc]


def test_the_whole_life_of_a_version_is_one_window() -> None:
    assert window_of("TOTAL", NOW)[1] is None
    assert window_of("TOTAL", NOW) == window_of("TOTAL", NOW + timedelta(days=999))


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from(["MINUTE", "HOUR", "DAY", "MONTH"]))
def test_every_instant_is_in_exactly_one_window(at: datetime, window: str) -> None:
    if not 2 <= at.year < 9999:
        return
    start, end = window_of(window, at)
    assert end is not None and start <= at < end
    assert window_of(window, start) == (start, end) and window_of(window, end)[0] == end


@pytest.mark.parametrize("bad", [quota("FORTNIGHT"), quota(scope="PLANET")])
def test_an_unknown_window_or_scope_never_goes_uncounted(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no quota"):
        of(bad)


def test_a_limit_is_reached_exactly_and_the_next_is_refused() -> None:
    found = of(quota(calls=2))
    usage: dict[Counter, Use] = {}
    for _ in range(2):
        assert used_up(found, usage, rows=1) is None
        debit(found, usage, rows=1)
    assert used_up(found, usage, rows=1) is found[0]
    assert used_up(of(quota(calls=2), now=NOW + timedelta(minutes=1)), usage, rows=1) is None


def test_rows_are_checked_once_they_are_known_and_zero_means_no_limit() -> None:
    [limit] = of(quota(rows=10))
    usage = {limit.counter: Use(calls=7, rows=8)}
    assert used_up([limit], usage, rows=None) is None
    assert used_up([limit], usage, rows=2) is None
    assert used_up([limit], usage, rows=3) is limit
    usage[limit.counter] = Use(calls=8, rows=10)
    assert used_up([limit], usage, rows=None) is limit
    assert used_up([limit], usage, rows=0) is None, "an answer without rows takes none"
    assert used_up(of(quota()), {}, rows=10**9) is None


def test_two_limits_on_one_counter_are_debited_once() -> None:
    found = of(quota(calls=5), quota(rows=5))
    usage: dict[Counter, Use] = {}
    debit(found, usage, rows=3)
    assert usage == {found[0].counter: Use(1, 3)}


def test_scopes_count_apart() -> None:
    keys = [
        each.counter.scope_key for each in of(*(quota(scope=s) for s in ("CONTRACT", "SYSTEM", "SUBJECT")))
    ]
    assert keys == ["", "departments/d/systems/s", "1.aa"]


def test_use_is_written_read_back_and_windows_that_are_over_are_forgotten() -> None:
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.begin() as connection:
        for minute, expected in ((0, Use(1, 4)), (0, Use(2, 8)), (1, Use(1, 4))):
            now = NOW + timedelta(minutes=minute)
            found = of(quota("MINUTE", calls=9), quota("TOTAL", calls=9), now=now)
            counters = [limit.counter for limit in found]
            before = read_usage(connection, counters)
            after = dict(before)
            debit(found, after, rows=4)
            write_usage(connection, before, after)
            assert read_usage(connection, counters)[counters[0]] == expected
        assert read_usage(connection, counters)[counters[1]] == Use(3, 12)
        assert connection.scalar(sa.select(sa.func.count()).select_from(quota_usage)) == 2
    engine.dispose()
