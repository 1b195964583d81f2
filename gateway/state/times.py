"""Instants as the tables hold them: whole milliseconds since the epoch, UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def to_ms(at: datetime) -> int:
    """Returns an aware time in milliseconds since the epoch, cut down to the whole one."""
    return (at - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """Returns the aware UTC time of `milliseconds` since the epoch."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
