"""What a filter asks of the columns of a run of records; the same as its condition in SQL (`audit.search.query`)."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from audit.search.columns import SEPARATOR, at, newest_first, span
from audit.search.filter import And, Expression, Not, Or, Restriction
from audit.search.query import ENUMS, NAMES, enum_value, named_value, number_of, system_path
from audit.search.segments import Run
from isthmus.names import ContractName, SystemName

END: Final = (1 << 63) - 1
"""Above every position."""


class Facts(Protocol):
    """What the columns do not say, asked of the ledger once for a query."""

    def since(self, at_ms: int) -> int:
        """The position of the first record logged at this time or later, milliseconds since 1970."""

    def of_exchange(self, exchange: str) -> Sequence[int]:
        """The positions of an exchange's records, in order."""

    def of_subject(self, tokens: Collection[str]) -> Sequence[int]:
        """The positions of the records about a person, in order; batches with that person in them too."""

    def openings(self, positions: Sequence[int], *, ended: bool) -> Sequence[int]:
        """Of these openings of streams those that have an end, or those that have none."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The records in whose column a value holds one of the patterns (`Column.find`)."""

    column: str
    patterns: tuple[bytes, ...]
    fold: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """The records from a position up to before another."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Listed:
    """The records at these positions, in order."""

    positions: Sequence[int]


@dataclass(frozen=True, slots=True)
class Openings:
    """The records that opened streams, with an end or without."""

    ended: bool


@dataclass(frozen=True, slots=True)
class Except:
    """What its term is not."""

    term: "Plan"


@dataclass(frozen=True, slots=True)
class Every:
    """All of the terms; those that cost least come first."""

    terms: tuple["Plan", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Any of the terms."""

    terms: tuple["Plan", ...]


Plan = Matching | Between | Listed | Openings | Except | Every | Either
EVERYTHING: Final = Between(0, END)
_LONG: Final = frozenset({"case_reference", "subject_token", "resource"})
"""Columns of many values: read last."""


def plan_of(expression: Expression | None, facts: Facts) -> Plan:
    """The plan of a filter that was read.

    Raises:
        InvalidArgument: it compares a field with what it cannot hold.
    """
    match expression:
        case None:
            return EVERYTHING
        case And(terms):
            return all_of(plan_of(each, facts) for each in terms)
        case Or(terms):
            return Either(tuple(plan_of(each, facts) for each in terms))
        case Not(term):
            return Except(plan_of(term, facts))
        case Restriction():
            found = _restriction(expression, facts)
            return Except(found) if expression.operator == "!=" else found


def all_of(plans: Iterable[Plan]) -> Plan:
    """The plan of what all of them find."""
    return Every(tuple(sorted(plans, key=_cost)))


def bounds(plan: Plan) -> tuple[int, int]:
    """From which position on, and before which, the plan can find anything."""
    match plan:
        case Between(low, high):
            return low, high
        case Listed(positions):
            return (positions[0], positions[-1] + 1) if positions else (0, 0)
        case Every(terms):
            found = [bounds(each) for each in terms]
            return max((low for low, _ in found), default=0), min((high for _, high in found), default=END)
        case _:
            return 0, END


def mask_of(plan: Plan, run: Run, facts: Facts, *, among: int) -> int:
    """The records of a run that a plan finds, as a mask.

    Args:
        plan: the plan.
        run: the run.
        facts: asked for what its columns do not say.
        among: the mask of the records that are wanted; of others nothing may be looked up.
    """
    if not among:
        return 0
    match plan:
        case Matching(name, patterns, fold):
            column = run.column(name)
            return column.mask(column.find(patterns, fold=fold)) & among
        case Between(low, high):
            low, high = max(0, low - run.start), min(run.size, high - run.start)
            return among if (low, high) == (0, run.size) else span(low, high) & among
        case Listed(positions):
            low, high = (bisect_left(positions, each) for each in (run.start, run.start + run.size))
            return at([each - run.start for each in positions[low:high]]) & among
        case Openings(ended):
            return _openings(run, facts, ended=ended, among=among)
        case Except(term):
            return among & ~mask_of(term, run, facts, among=among)
        case Every(terms):
            for each in terms:
                among = mask_of(each, run, facts, among=among)
            return among
        case Either(terms):
            found = 0
            for each in terms:
                found |= mask_of(each, run, facts, among=among & ~found)
            return found


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def exactly(text: str) -> bytes:
    """The pattern of one whole value."""
    return SEPARATOR + _bytes(text) + SEPARATOR


_OPENING: Final = (
    Matching("mode", (exactly("STREAM"),)),
    Matching("kind", (exactly("DECISION"),)),
    Matching("decision", (exactly("ALLOW"),)),
)


def _openings(run: Run, facts: Facts, *, ended: bool, among: int) -> int:
    mask = mask_of(Every(_OPENING), run, facts, among=among)
    positions = [run.start + each for each in newest_first(mask)]
    return at([each - run.start for each in facts.openings(positions, ended=ended)])


def _restriction(each: Restriction, facts: Facts) -> Plan:
    if each.field in ("index", "time"):
        return _ordered(each, facts)
    if each.field in ENUMS:
        return _enum(each)
    if each.field in NAMES:
        return _named(each, facts)
    if each.operator == ":":
        # As SQLite's `lower`: A is a, in ASCII; and nothing is in everything.
        return Matching(each.field, (_bytes(each.value).lower(),), fold=True) if each.value else EVERYTHING
    if each.field == "subject_token" and each.value:
        return Listed(facts.of_subject([each.value]))
    found = Matching(each.field, (exactly(each.value),))
    if each.field == "resource" and each.value:
        return Every((Except(Matching("kind", (exactly("DECISION"),))), found))
    return found


def _ordered(each: Restriction, facts: Facts) -> Plan:
    value = number_of(each)
    # Times never go back from one record to the next: the ledger sees to it. So each is a position.
    low, high = (value, value + 1) if each.field == "index" else (facts.since(value), facts.since(value + 1))
    return {
        "<": Between(0, low),
        "<=": Between(0, high),
        ">": Between(high, END),
        ">=": Between(low, END),
    }.get(each.operator, Between(low, high))


def _enum(each: Restriction) -> Plan:
    value = enum_value(each)
    if each.field == "stream":
        return Openings(value == "ENDED")
    if each.field == "emergency":
        urgent = Matching("emergency", (exactly("true"),))
        return urgent if value == "true" else Except(urgent)
    return Matching(each.field, (_bytes(f",{value},") if each.field == "reason" else exactly(value),))


def _named(each: Restriction, facts: Facts) -> Plan:
    name = named_value(each)
    if isinstance(name, SystemName):
        return Matching("caller", (_bytes(system_path(name)) + SEPARATOR,))
    if isinstance(name, ContractName) and name.version is None:
        base = SEPARATOR + _bytes(str(name))
        return Matching("contract", (base + b"@", base + SEPARATOR))
    if each.field == "exchange":
        return Listed(facts.of_exchange(str(name)))
    return Matching(each.field, (exactly(str(name)),))


def _cost(plan: Plan) -> int:
    match plan:
        case Between() | Listed():
            return 0
        case Matching(column, _, _):
            return 2 if column in _LONG else 1
        case Openings():
            return 4
        case Except(term):
            return _cost(term)
        case Every(terms) | Either(terms):
            return max((_cost(each) for each in terms), default=0)
