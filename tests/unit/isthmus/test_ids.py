"""Exchange ids sort by time and never repeat (RFC 9562 section 5.7)."""

import uuid
from datetime import UTC, datetime, timedelta

from isthmus.ids import new_exchange, uuid7
from isthmus.names import ExchangeName

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


def test_a_uuid7_carries_its_version_variant_and_milliseconds() -> None:
    made = uuid.UUID(uuid7(NOW))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == int(NOW.timestamp() * 1000)


def test_later_ids_sort_later() -> None:
    assert uuid7(NOW) < uuid7(NOW + timedelta(milliseconds=1))


def test_ids_of_one_millisecond_differ() -> None:
    assert len({uuid7(NOW) for _ in range(1000)}) == 1000


def test_an_exchange_name_is_one_that_parses() -> None:
    assert ExchangeName.parse(str(new_exchange(NOW))).uuid
