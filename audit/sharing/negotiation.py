"""What the log says of each version of a contract: who asked, when it was answered, and from when until when it held."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from audit.sharing.days import Days

NEVER: Final = 1 << 62
"""A time that does not come."""


@dataclass(slots=True)
class Version:
    """A version of a contract. Times are milliseconds since 1970; `NEVER` for what has not happened.

    Attributes:
        provider: `departments/{d}`.
        consumer: `departments/{d}`.
        dataset: `departments/{d}/datasets/{d}`.
        proposer: which of the two proposed it.
        proposed: when.
        fields: how many fields it would grant.
        asked: how many the consumer asked for first in the same negotiation; 0 while it has not asked.
        begins: when its time begins.
        over: when its time is over.
        overdue: when it was recorded that its answer is.
        answered: when the other department answered.
        late: whether that was after it was due.
        workdays: the working days it took; None where nobody could say.
        rejection: the typed reason, where the answer was no.
        closed: when it ended as a proposal.
        agreed: when both had signed.
        ended: when it was ended, or a later version took its place.
        missed: when it was recorded that data were not provided in time.
        pauses: from when until when it was suspended.
    """

    provider: str
    consumer: str
    dataset: str
    proposer: str
    proposed: int
    fields: int = 0
    asked: int = 0
    begins: int = 0
    over: int = NEVER
    overdue: int = NEVER
    answered: int = NEVER
    late: bool = False
    workdays: int | None = None
    rejection: str = ""
    closed: int = NEVER
    agreed: int = NEVER
    ended: int = NEVER
    missed: int = NEVER
    pauses: list[tuple[int, int]] = field(default_factory=list)

    @property
    def between_departments(self) -> bool:
        """Whether it is between two departments, and not one and itself."""
        return self.provider != self.consumer

    @property
    def asks_provider(self) -> bool:
        """Whether the consumer proposed it, so that the provider owes an answer."""
        return self.proposer == self.consumer

    def in_force(self, at: int) -> bool:
        """Whether data may go out under it at a moment."""
        begun = max(self.agreed, self.begins) <= at
        over = at >= min(self.over, self.ended)
        return begun and not over and not any(start <= at < end for start, end in self.pauses)

    def gone(self, before: int) -> bool:
        """Whether nothing of it matters to a period that begins with `before`."""
        if self.agreed == NEVER:
            return self.closed < before
        return min(self.over, self.ended) < before and (self.missed == NEVER or self.missed < before)


@dataclass(slots=True)
class Contract:
    """A contract: its versions by number, and on which days something was given, or refused for want of quota."""

    versions: dict[int, Version] = field(default_factory=dict)
    given: Days = field(default_factory=Days)
    throttled: Days = field(default_factory=Days)


class Negotiations:
    """Every contract that the log tells of, as far as it still matters."""

    def __init__(self) -> None:
        self._contracts: dict[str, Contract] = {}

    def contract(self, full_name: str) -> Contract | None:
        """The contract of `contracts/{c}@{version}` or `contracts/{c}`; None for a name that nobody proposed."""
        return self._contracts.get(full_name.partition("@")[0])

    def named(self) -> Iterable[tuple[str, Contract]]:
        """Each of them by its name, `contracts/{c}`."""
        return self._contracts.items()

    def forget(self, before: int) -> None:
        """Let go of what ended before a moment."""
        for name, contract in list(self._contracts.items()):
            gone = [number for number, each in contract.versions.items() if each.gone(before)]
            for number in gone:
                del contract.versions[number]
            if not contract.versions:
                del self._contracts[name]

    def learn(self, record: Mapping[str, Any], at: int) -> None:
        """Take in a control record about a version of a contract, appended at a moment."""
        change: Mapping[str, Any] = record.get("change", {})
        name, _, number = record["resource"].partition("@")
        events = str(change.get("event", "")).split()
        if "PROPOSED" in events:
            self._propose(record, name, int(number), at)
        contract = self._contracts.get(name)
        version = contract.versions.get(int(number)) if contract is not None and number else None
        if contract is None or version is None:
            return
        if "answer" in change and "PROPOSED" not in events:
            _answer(version, change, at)
        for event in events:
            self._take(contract, version, event, change, at)

    def _propose(self, record: Mapping[str, Any], name: str, number: int, at: int) -> None:
        change = record["change"]
        contract = self._contracts.setdefault(name, Contract())
        version = Version(
            provider=record["provider"],
            consumer=record["consumer"],
            dataset=record["dataset"],
            proposer=change["proposer"],
            proposed=at,
            fields=change.get("fields", 0),
            begins=change.get("begins", 0),
            over=change.get("over", NEVER),
        )
        before = contract.versions.get(number - 1)
        if before is not None and "answer" in change:
            # A counter-proposal is the answer to the version before it.
            _answer(before, change, at)
            before.closed = at
            version.asked = before.asked
        if not version.asked and version.asks_provider:
            version.asked = version.fields
        contract.versions[number] = version

    def _take(
        self, contract: Contract, version: Version, event: str, change: Mapping[str, Any], at: int
    ) -> None:
        if event == "ANSWER_OVERDUE":
            version.overdue = min(version.overdue, at)
        elif event == "PROVIDE_OVERDUE":
            version.missed = min(version.missed, at)
        elif event in ("REJECTED", "WITHDRAWN"):
            version.closed = at
            version.rejection = str(change.get("rejection_reason", ""))
        elif event in ("AGREED", "ACTIVATED") and version.agreed == NEVER:
            version.agreed = version.closed = at
            for each in contract.versions.values():
                if each is not version and each.agreed <= at:
                    each.ended = min(each.ended, max(at, version.begins))
        elif event == "TERMINATED":
            version.ended = min(version.ended, at)
        elif event == "SUSPENDED":
            version.pauses.append((at, NEVER))
        elif event == "RESUMED" and version.pauses:
            version.pauses[-1] = (version.pauses[-1][0], at)


def _answer(version: Version, change: Mapping[str, Any], at: int) -> None:
    """The first word of the department that did not propose."""
    if version.answered == NEVER:
        version.answered = at
        version.late = change["answer"] == "LATE"
        days = change.get("answer_workdays")
        version.workdays = days if isinstance(days, int) else None
