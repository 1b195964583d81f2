"""The period for which use records must stay whole. No clock: the present time is an argument."""

from dataclasses import dataclass
from datetime import datetime

from audit.config import RetentionSettings


class RetentionRefused(ValueError):
    """Nothing was destroyed; the message says by which rule, and what would be allowed."""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """The legal minimum.

    Args:
        minimum_years: 3 under 《政务数据共享条例》 (State Council order 809) article 29.
        citation: the rule in words.
    """

    minimum_years: int
    citation: str

    @classmethod
    def of(cls, settings: RetentionSettings) -> "RetentionRule":
        """The rule of a configuration."""
        return cls(settings.minimum_years, settings.citation)

    def destructible_before(self, now: datetime) -> datetime:
        """Records logged before this moment have had their period.

        Args:
            now: an aware time. The period of a 29 February ends with the 28th.
        """
        day = 28 if (now.month, now.day) == (2, 29) else now.day
        return now.replace(year=now.year - self.minimum_years, day=day)

    def require(self, before: datetime, now: datetime) -> None:
        """Return only if nothing logged before `before` (aware) is younger than the minimum.

        Raises:
            RetentionRefused: something is.
        """
        latest = self.destructible_before(now)
        if before > latest:
            raise RetentionRefused(
                f"records must stay whole for at least {self.minimum_years} years ({self.citation}), and this would "
                f"reach younger ones; the latest date that is possible now is {latest:%Y-%m-%dT%H:%M:%SZ}"
            )

    @property
    def words(self) -> str:
        """The rule as certificates state it."""
        return f"{self.citation}: at least {self.minimum_years} years"
