"""What a comparison of the log with the departments' journals can find."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Difference(StrEnum):
    """The kind of a finding, for programs."""

    SERVED_UNRECORDED = "SERVED_UNRECORDED"
    """The department served it, and the log has no record of how it was decided."""
    RELEASED_UNSERVED = "RELEASED_UNSERVED"
    """The log records a release of what the department says it did not serve."""
    FACTS_DIFFER = "FACTS_DIFFER"
    """Both know the exchange, and say different things about it."""
    END_DIFFERS = "END_DIFFERS"
    """Both know the stream, and say different things about what was sent."""
    WITHHELD = "WITHHELD"
    """The department served it, and the gateway released nothing, for the reasons of its record."""
    WITHHELD_IN_PART = "WITHHELD_IN_PART"
    """The gateway released less than the department served."""
    REFUSED_UNRECORDED = "REFUSED_UNRECORDED"
    """The department refused it, so nothing left; the log has no record, as after a crash of the gateway."""
    CUT_OFF = "CUT_OFF"
    """A stream that the log saw begin and not end: its gateway crashed, or the log could not be written."""
    UNDER_WAY = "UNDER_WAY"
    """Too young to be judged: the other side may not have written it yet."""
    UNJUDGED = "UNJUDGED"
    """A batch whose lines were erased from the log, so that its rows cannot be compared."""


ALARMING: Final = frozenset(
    {
        Difference.SERVED_UNRECORDED,
        Difference.RELEASED_UNSERVED,
        Difference.FACTS_DIFFER,
        Difference.END_DIFFERS,
    }
)
"""What no ordinary cause explains. A gateway that was killed between the department's answer and the log's commit leaves
SERVED_UNRECORDED too, with nothing released: whether it was, its own log must show."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. It says nothing about whom the exchange was.

    Attributes:
        difference: its kind.
        exchange: `exchanges/{uuid}`.
        department: `departments/{department}` that served it, or should have.
        index: the position of the log's record; None where there is none.
        served_at: when the department says it served it, RFC 3339; empty where it does not say.
        words: what differs, or why it was withheld.
    """

    difference: Difference
    exchange: str
    department: str
    index: int | None
    served_at: str
    words: str

    @property
    def alarming(self) -> bool:
        """Whether somebody must look."""
        return self.difference in ALARMING
