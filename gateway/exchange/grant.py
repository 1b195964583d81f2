"""The grant: what the gateway asks a department to serve, signed, for thirty seconds (docs/PROTOCOL.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.exchange.item import Exchange
from gateway.exchange.state import View
from gateway.state.contracts import ContractRow
from isthmus.ids import uuid7
from isthmus.terms import rfc3339

LIFETIME: Final = timedelta(seconds=30)
"""How long a department may act on a grant."""

MAX_TOKEN_CHARACTERS: Final = 3_000_000
"""Below the limit in department_service.proto; a larger grant is split."""


@dataclass(frozen=True, slots=True)
class Passenger:
    """An exchange that was admitted, and what was read when it was."""

    exchange: Exchange
    view: View
    contract: ContractRow


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant before it is signed: its id, the department it is for, and the exchanges in order."""

    id: str
    department: str
    passengers: tuple[Passenger, ...]
    payload: dict[str, Any]


def make_grant(department: str, passengers: Sequence[Passenger], *, now: datetime) -> Grant:
    """Returns the grant for exchanges of one department, `departments/{department}`, issued `now`."""
    id = uuid7(now)
    payload = {
        "grant": id,
        "department": department,
        "issued_at": rfc3339(now),
        "expires_at": rfc3339(now + LIFETIME),
        "items": [_item(each) for each in passengers],
    }
    return Grant(id, department, tuple(passengers), payload)


def granted_fields(passenger: Passenger) -> list[dict[str, str]]:
    """Returns the fields that were asked for, each with the contract's transform, in the order asked for.

    Raises:
        KeyError: a field that the contract does not hold; the policy has refused such an exchange before.
    """
    transforms = {each["name"]: each["transform"] for each in passenger.contract.terms["fields"]}
    return [{"name": name, "transform": transforms[name]} for name in passenger.exchange.asked.fields]


def _item(passenger: Passenger) -> dict[str, Any]:
    asked, contract, subject = passenger.exchange.asked, passenger.contract, passenger.view.subject
    return {
        "exchange": passenger.exchange.name,
        "mode": asked.mode.value,
        "consumer": asked.consumer,
        "system": asked.system,
        "contract": contract.full_name,
        "terms_digest": contract.terms_digest,
        "dataset": contract.dataset,
        "purpose": asked.purpose,
        "fields": granted_fields(passenger),
        "row_filters": contract.terms["row_filters"],
        "subjects": [{"scheme": asked.scheme, "id": subject.canonical, "token": subject.token}],
        "predicate": asked.predicate,
    }
