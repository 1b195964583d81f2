"""The grant: what the gateway asks a department to serve, signed, for thirty seconds (docs/PROTOCOL.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring as _text
from typing import Any, Final

from gateway.exchange.item import Exchange
from gateway.exchange.state import View
from gateway.state.contracts import ContractRow
from isthmus.canonical import canonical_json
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
    """A grant before it is signed: its id, the department it is for, the exchanges in order, and what it says."""

    id: str
    department: str
    passengers: tuple[Passenger, ...]
    document: bytes


def make_grant(department: str, passengers: Sequence[Passenger], *, now: datetime) -> Grant:
    """Returns the grant for exchanges of one department, `departments/{department}`, issued `now`."""
    id = uuid7(now)
    # Written in canonical order by hand, because most of it is the same for every exchange of a train.
    document = (
        f'{{"department":{_text(department)},"expires_at":"{rfc3339(now + LIFETIME)}","grant":"{id}",'
        f'"issued_at":"{rfc3339(now)}","items":[{",".join(map(_item, passengers))}]}}'
    )
    return Grant(id, department, tuple(passengers), document.encode())


def granted_fields(passenger: Passenger) -> Sequence[Mapping[str, str]]:
    """Returns the fields that were asked for, each with the contract's transform, in the order asked for.

    Raises:
        KeyError: a field that the contract does not hold; the policy has refused such an exchange before.
    """
    return _granted(_terms(passenger.contract), passenger.exchange.asked.fields)


@dataclass(frozen=True, slots=True)
class _Terms:
    """The terms of a contract, which their digest tells from all others."""

    digest: str
    document: Mapping[str, Any] = field(compare=False)


def _terms(contract: ContractRow) -> _Terms:
    return _Terms(contract.terms_digest, contract.terms)


@lru_cache(maxsize=4096)
def _granted(terms: _Terms, names: tuple[str, ...]) -> Sequence[Mapping[str, str]]:
    transforms = {each["name"]: each["transform"] for each in terms.document["fields"]}
    return tuple({"name": name, "transform": transforms[name]} for name in names)


def _item(passenger: Passenger) -> str:
    asked, subject = passenger.exchange.asked, passenger.view.subject
    head, middle = _frame(
        passenger.contract.full_name, _terms(passenger.contract), asked.system, asked.purpose, asked.fields
    )
    predicate = "null" if asked.predicate is None else canonical_json(asked.predicate).decode()
    return (
        f'{head}"exchange":"{passenger.exchange.name}",{middle[0]}"mode":"{asked.mode.value}",'
        f'"predicate":{predicate},{middle[1]}"subjects":[{{"id":{_text(subject.canonical)},'
        f'"scheme":{_text(asked.scheme)},"token":"{subject.token}"}}],{middle[2]}'
    )


@lru_cache(maxsize=4096)
def _frame(
    contract: str, terms: _Terms, system: str, purpose: str, fields: tuple[str, ...]
) -> tuple[str, tuple[str, str, str]]:
    """The parts of an item that exchanges share: before its exchange, its mode, its subject, and its end."""
    document = terms.document
    head = (
        f'{{"consumer":{_text(document["consumer"])},"contract":{_text(contract)},'
        f'"dataset":{_text(document["dataset"])},'
    )
    granted = canonical_json([dict(each) for each in _granted(terms, fields)]).decode()
    filters = canonical_json(document["row_filters"]).decode()
    return head, (
        f'"fields":{granted},',
        f'"purpose":{_text(purpose)},"row_filters":{filters},',
        f'"system":{_text(system)},"terms_digest":"{terms.digest}"}}',
    )
