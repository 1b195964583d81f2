"""An anomaly, and the filter that lists the records behind it."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Final

from audit.reports.plain import resource_of
from isthmus.errors import InvalidArgument
from isthmus.names import ContractName, SystemName

MOST: Final = 1000
"""How many anomalies a report holds."""


class Kind(Enum):
    """What makes records worth a look; the names are those of `AnomalyKind` without `ANOMALY_KIND_`."""

    VOLUME = "VOLUME"
    DENIAL_BURST = "DENIAL_BURST"
    OFF_HOURS = "OFF_HOURS"
    MANY_SUBJECTS = "MANY_SUBJECTS"
    EMERGENCY_UNREVIEWED = "EMERGENCY_UNREVIEWED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Records of one key (a contract, a system, a person): how many, and the first and the last.

    Attributes:
        key: the key.
        records: how many records.
        count: what is compared: the records, unless something else is counted in them.
        first, last: positions.
        first_ms, last_ms: times, milliseconds since 1970.
    """

    key: str
    records: int
    count: int
    first: int
    last: int
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """Something worth a look.

    Attributes:
        kind: what it is.
        summary: what was seen and what was usual, in plain words.
        resource: the department, system or contract it is about; empty where it is about a person.
        start_ms, end_ms: of its first and last record, milliseconds since 1970.
        records: how many records are behind it.
        filter: lists exactly these.
        weight: how unusual it is: 1 where it just is, 2 at twice that.
    """

    kind: Kind
    summary: str
    resource: str
    start_ms: int
    end_ms: int
    records: int
    filter: str
    weight: float


def weightiest(anomalies: Iterable[Anomaly]) -> tuple[list[Anomaly], int]:
    """The 1000 most unusual, the most unusual first, and how many others there are; no more are held in memory."""
    seen = 0

    def counted() -> Iterable[Anomaly]:
        nonlocal seen
        for each in anomalies:
            seen += 1
            yield each

    most = heapq.nlargest(MOST, counted(), key=lambda each: (each.weight, -each.start_ms))
    return most, seen - len(most)


def contract_filter(tally: Tally) -> str:
    """Lists the exchanges of a tally that is by contract."""
    return f"contract = {quoted(tally.key)} AND kind = DECISION AND {_span(tally)}"


def caller_filter(tally: Tally, condition: str) -> str:
    """Lists the records of a tally that is by caller and has this condition."""
    return f"{_caller(tally.key)} AND {condition} AND {_span(tally)}"


def person_filter(tally: Tally) -> str:
    """Lists the exchanges of a tally that is by a person's token; batches in which the person is one of many too."""
    return f"subject_token = {quoted(tally.key)} AND kind = DECISION AND {_span(tally)}"


def can_be_named(contract: str) -> bool:
    """Whether a filter can name this contract: a denied exchange may have named any."""
    try:
        ContractName.parse(contract)
    except InvalidArgument:
        return False
    return True


def quoted(text: str) -> str:
    """A text as a filter spells it."""
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def _caller(uri: str) -> str:
    try:
        return f"system = {quoted(str(SystemName.parse(resource_of(uri))))}"
    except InvalidArgument:
        return f"caller = {quoted(uri)}"


def _span(tally: Tally) -> str:
    return f"index >= {tally.first} AND index <= {tally.last}"


def at(at_ms: int) -> datetime:
    """A time of a record."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


NAMES: Final[Mapping[str, Kind]] = MappingProxyType({each.value: each for each in Kind})
"""The kinds by name."""
