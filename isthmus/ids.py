"""Identifiers that sort by time (UUID version 7, RFC 9562 section 5.7)."""

import secrets
import uuid
from datetime import datetime

from isthmus.names import ExchangeName


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
