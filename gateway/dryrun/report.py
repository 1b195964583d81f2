"""What a dry run found: how many decisions would change, by kind, with a few examples of each. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gateway.dryrun.past import Past
from isthmus.v1.contract_service_pb2 import ChangedDecision, DryRunContractResponse

ALLOW: Final = "ALLOW"
DENY: Final = "DENY"
UNDECIDED: Final = "UNDECIDED"
"""What the log does not hold would decide."""

MOST_EXAMPLES: Final = 5
MOST_KINDS: Final = 200
OTHERS: Final = "(others)"
"""Stands for the reasons of every kind beyond `MOST_KINDS`."""


@dataclass(frozen=True, slots=True)
class Tried:
    """How a past exchange would be decided: ALLOW, DENY with reasons, or UNDECIDED."""

    decision: str
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class Kind:
    """Exchanges that would change in the same way."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """The tally of a dry run. Add the newest exchange first, so that the examples are the newest."""

    tried: int = 0
    changed: int = 0
    undecided: int = 0
    kinds: dict[tuple[str, str, str], Kind] = field(default_factory=dict)

    def add(self, past: Past, found: Tried) -> None:
        """Counts one exchange."""
        self.tried += 1
        if found.decision == UNDECIDED:
            self.undecided += 1
        elif found.decision != past.decision:
            self.changed += 1
            self._kind(past, found).count += 1

    def _kind(self, past: Past, found: Tried) -> Kind:
        reasons = ",".join(_sorted(found.reasons or past.reasons))
        if (past.decision, found.decision, reasons) not in self.kinds and len(self.kinds) >= MOST_KINDS:
            reasons = OTHERS
        kind = self.kinds.setdefault((past.decision, found.decision, reasons), Kind())
        if len(kind.examples) < MOST_EXAMPLES:
            kind.examples.append(past.exchange)
        return kind

    def message(self) -> DryRunContractResponse:
        """The report as a message, the commonest change first."""
        ordered = sorted(self.kinds.items(), key=lambda each: (-each[1].count, each[0]))
        return DryRunContractResponse(
            tried=self.tried,
            changed=self.changed,
            undecided=self.undecided,
            changes=[
                ChangedDecision(
                    recorded=recorded, tried=tried, reasons=reasons, count=kind.count, examples=kind.examples
                )
                for (recorded, tried, reasons), kind in ordered
            ],
        )


def _sorted(reasons: Iterable[str]) -> list[str]:
    return sorted(set(reasons))
