"""Times as people say them: in the zone they live in."""

from datetime import UTC, date, datetime, time, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

Zone = Annotated[
    str | None,
    typer.Option(
        "--zone", help="The time zone that is meant, such as Asia/Shanghai; this machine's unless given."
    ),
]


def zone_of(name: str | None) -> tzinfo | None:
    """Returns the zone of a name; None for none, which `datetime.astimezone` takes for this machine's.

    Raises:
        typer.BadParameter: there is no such zone.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise typer.BadParameter(
            "there is no such zone; give an IANA name: Asia/Shanghai", param_hint="--zone"
        ) from None


def moment(text: str | None, zone: tzinfo | None, *, option: str) -> datetime | None:
    """Returns a day (its beginning in `zone`) or an RFC 3339 time as an aware time; None for none.

    Raises:
        typer.BadParameter: it is neither.
    """
    if text is None:
        return None
    try:
        if len(text) == 10:
            local = datetime.combine(date.fromisoformat(text), time())
            return local.astimezone(zone) if zone is None else local.replace(tzinfo=zone)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise _no_moment(option) from None
    if found.tzinfo is None:
        raise _no_moment(option)
    return found


def _no_moment(option: str) -> typer.BadParameter:
    words = "give a day, 2026-11-01, or a time with its zone, 2026-11-01T08:00:00+08:00"
    return typer.BadParameter(words, param_hint=option)


def day_of(at: date) -> str:
    """A day as a heading: `Monday 2 November 2026`."""
    return f"{at:%A} {at.day} {at:%B %Y}"


def zone_words(name: str | None, at: datetime) -> str:
    """Which zone times are in, for the head of a document: `Asia/Shanghai (UTC+08:00)`."""
    offset = f"{at:%z}"
    words = "UTC" if at.tzinfo is UTC else f"UTC{offset[:3]}:{offset[3:5]}"
    return words if name is None else f"{name} ({words})"
