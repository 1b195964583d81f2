"""From where on something is worth a look: `[anomalies]` in `audit.toml`."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyLimits:
    """The limits; every comparison is with the own history of the contract or the system, never with others.

    Attributes:
        zone: the IANA zone whose days, nights and days of rest are meant.
        history_days: how many days before the period are its history.
        min_history: how many days (or nights) of the same kind the history needs; with fewer nothing is judged, and a
            note says so. Working days are compared with working days, days of rest with days of rest.
        deviations: by how many robust standard deviations above the median something is unusual (1.4826 times the
            median absolute deviation, but the square root of the median at least, as chance alone varies by that).
        volume_least: exchanges of a contract a day; fewer are never unusual.
        denial_least: denials of one system within the window that are a burst.
        denial_window_minutes: the window; it slides minute by minute.
        denial_share: and which part of the system's exchanges in the window they are at least, 0 to 1.
        off_hours_least: exchanges of a system in one night, or on one day of rest; fewer are never unusual.
        night_begins: the hour, 18 to 23, at which the night begins.
        night_ends: the hour, 1 to 10, at which it ends.
        subjects_least: different persons that one system asks about a day; fewer are never unusual.
        person_least: exchanges a day about one person that are always worth a look.
        emergency_review_hours: after so many hours an emergency use is reported of which neither a review nor the
            clerk's record of its own deadline is in the log, as when no gateway's clerk ran.
    """

    zone: str = "Asia/Shanghai"
    history_days: int = 56
    min_history: int = 8
    deviations: float = 6.0
    volume_least: int = 100
    denial_least: int = 20
    denial_window_minutes: int = 10
    denial_share: float = 0.2
    off_hours_least: int = 10
    night_begins: int = 22
    night_ends: int = 6
    subjects_least: int = 100
    person_least: int = 50
    emergency_review_hours: int = 168

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (LookupError, ValueError, OSError):
            raise ValueError("zone is no time zone; write an IANA name: Asia/Shanghai") from None
        for name, low, high in _BOUNDS:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be {low} to {high}")


_BOUNDS = (
    ("history_days", 1, 366),
    ("min_history", 2, 366),
    ("deviations", 1, 1000),
    ("volume_least", 1, 1_000_000_000),
    ("denial_least", 2, 1_000_000_000),
    ("denial_window_minutes", 1, 1440),
    ("denial_share", 0, 1),
    ("off_hours_least", 1, 1_000_000_000),
    ("night_begins", 18, 23),
    ("night_ends", 1, 10),
    ("subjects_least", 1, 1_000_000_000),
    ("person_least", 2, 1_000_000_000),
    ("emergency_review_hours", 1, 8760),
)
