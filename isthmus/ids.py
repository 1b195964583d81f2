"""Identifiers that sort by time (UUID version 7, RFC 9562 section 5.7)."""

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

from isthmus.names import ExchangeName

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
"""A name may hold later moments than a datetime can."""


def uuid7(now: datetime) -> str:
    """A new UUIDv7: 48 bits of Unix milliseconds, then 74 random bits.

    Args:
        now: an aware time.
    """
    milliseconds = int(now.timestamp() * 1000)
    value = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))


def new_exchange(now: datetime) -> ExchangeName:
    """The name of an exchange that begins now."""
    return ExchangeName(uuid7(now))


def earliest_exchange(at: datetime) -> str:
    """The name before those of all exchanges that begin at a moment or later, in the order of text.

    Args:
        at: an aware time.
    """
    return str(ExchangeName(str(uuid.UUID(int=max(0, int(at.timestamp() * 1000)) << 80))))


def begun_at(exchange: str) -> datetime:
    """When an exchange began, as its name `exchanges/{uuid}` says.

    Raises:
        InvalidArgument: it is no such name.
    """
    milliseconds = uuid.UUID(ExchangeName.parse(exchange).uuid).int >> 80
    return _EPOCH + timedelta(milliseconds=min(milliseconds, _LAST_MS))
