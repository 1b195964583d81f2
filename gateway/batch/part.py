"""A part of a batch: the subjects that a department is asked about in one grant, and what it answered about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from gateway.batch.people import Person
from gateway.exchange.grant import LIFETIME, Grant, Passenger, granted_fields
from isthmus.canonical import canonical_json
from isthmus.ids import uuid7
from isthmus.names import ExchangeName
from isthmus.terms import rfc3339
from isthmus.v1.common_pb2 import Column

SUBJECTS: Final = 1_000
"""How many subjects a part holds at most: while the gateway checks one, the department works on the next."""
_FEWEST: Final = 500
"""Fewer are not worth a call of their own."""
_UUID_BITS: Final = 128


class Found(NamedTuple):
    """What the department said about one subject.

    `wire` is what a BatchOutcome holds of it: the fields `subject_known` and `rows`, serialised. `digest` is the SHA-256
    of the bytes that the department sent, `size` how many there were.
    """

    rows: int
    wire: bytes
    digest: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the subjects of a batch.

    Attributes:
        exchange: `exchanges/{uuid}`, by which the department knows the part; see `part_exchange`.
        numbers: of the persons, all of one scheme.
        persons: the same persons.
    """

    exchange: str
    numbers: Sequence[int]
    persons: Sequence[Person]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that its receipt covers; `found` is by the part's persons, `node` the certificate that signed."""

    columns: tuple[Column, ...]
    found: list[Found]
    receipt: str
    node: str


def part_size(subjects: int) -> int:
    """How many subjects of so many are asked about at once: half of them, so that gateway and department both have
    something to do, within bounds."""
    return min(SUBJECTS, max(_FEWEST, (subjects + 1) // 2))


def part_exchange(exchange: str, number: int) -> str:
    """The exchange by which a department knows a part of a batch: that of the batch, counted up.

    A department answers an exchange once, and a batch is asked of it in several grants. So the first part bears the id of
    the batch itself, and the n-th that id plus n, read as a number; whoever compares the department's journal with the
    records finds the batch by it.
    """
    id = UUID(exchange.removeprefix("exchanges/")).int + number
    return str(ExchangeName(str(UUID(int=id % (1 << _UUID_BITS)))))


def part_grant(passenger: Passenger, part: Part, *, now: datetime) -> Grant:
    """Returns the grant, before it is signed, for one part of a batch; issued `now`."""
    asked, contract, id = passenger.exchange.asked, passenger.contract, uuid7(now)
    item: dict[str, Any] = {
        "exchange": part.exchange,
        "mode": asked.mode.value,
        "consumer": asked.consumer,
        "system": asked.system,
        "contract": contract.full_name,
        "terms_digest": contract.terms_digest,
        "dataset": contract.dataset,
        "purpose": asked.purpose,
        "fields": granted_fields(passenger),
        "row_filters": contract.terms["row_filters"],
        "subjects": {
            "scheme": part.persons[0].scheme,
            "ids": [each.canonical for each in part.persons],
            "tokens": [each.token for each in part.persons],
        },
        "predicate": None,
    }
    payload = {
        "grant": id,
        "department": contract.provider,
        "issued_at": rfc3339(now),
        "expires_at": rfc3339(now + LIFETIME),
        "items": [item],
    }
    return Grant(id, contract.provider, (passenger,), canonical_json(payload))
