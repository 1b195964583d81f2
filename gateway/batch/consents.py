"""What the subjects of a batch consented to: one lean read, in which equal consents are told apart only by their name;
and whether that still holds a moment later, of which the log tells without reading each of them again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from audit.ledger.schema import records
from audit.record import Kind
from gateway.consents.states import effective_state
from gateway.policy.facts import ConsentFacts
from gateway.state.schema import consents
from gateway.state.times import from_ms, to_ms

_CHUNK: Final = 500


class Given(NamedTuple):
    """One consent: its name, the position of its record, how often it may be used (0 for no limit), when it was recorded
    (milliseconds since the epoch), and what of it decides. `facts` is one object for all consents that decide alike."""

    name: str
    position: int
    max_uses: int
    created: int
    facts: ConsentFacts


class Said(NamedTuple):
    """What subjects said: by token, and until when the clock alone changes nothing of it (exclusive; milliseconds since
    the epoch, None for ever)."""

    given: dict[str, Given]
    until: int | None


class _Row(NamedTuple):
    subject_token: str
    name: str
    position: int
    max_uses: int
    created_at: int
    not_before: int
    not_after: int
    answer_by: int | None
    of_age_at: int | None
    version: int
    terms_digest: str
    state: str
    purposes: str
    fields: str
    modes: str


@dataclass(frozen=True, slots=True)
class _Dated:
    """What of a row the clock concerns."""

    state: str
    not_after: datetime
    of_age_at: datetime | None
    answer_by: datetime | None


def _of_tokens(tokens: sa.BindParameter[str] | list[sa.BindParameter[str]]) -> sa.Select[Any]:
    return sa.select(*(consents.c[name] for name in _Row._fields)).where(
        consents.c.contract == sa.bindparam("of_contract"),
        consents.c.subject_token.in_(tokens),
        consents.c.current,
    )


_OF_SOME: Final = _of_tokens(sa.bindparam("tokens", expanding=True))


@lru_cache(maxsize=4)
def _of_chunk(dialect: sa.Dialect) -> str | None:
    """The same for a whole chunk, as the driver's own SQL; None where a driver takes no positional parameters.

    SQLAlchemy would spell the parameters anew each time, which takes longer than a good part of the query.
    """
    numbered = [sa.bindparam(f"token_{number}", type_=sa.Text) for number in range(_CHUNK)]
    compiled = _of_tokens(numbered).compile(dialect=dialect)
    names = getattr(compiled, "positiontup", None)
    return str(compiled) if names == ["of_contract", *(each.key for each in numbered)] else None


def _read(conn: sa.Connection, contract: str, tokens: Sequence[str]) -> Sequence[Any]:
    if len(tokens) == _CHUNK and (text := _of_chunk(conn.dialect)) is not None:
        return conn.exec_driver_sql(text, (contract, *tokens)).all()
    return conn.execute(_OF_SOME, {"of_contract": contract, "tokens": tokens}).all()


def given_by(conn: sa.Connection, contract: str, tokens: Sequence[str], *, now: datetime) -> Said:
    """Returns what each subject last said under a contract, by token; one who never said anything is absent.

    Args:
        conn: a connection; one query per 500 tokens.
        contract: `contracts/{contract}`, without a version.
        tokens: of the subjects.
        now: the moment of the decision.
    """
    at, known = to_ms(now), dict[tuple[object, ...], ConsentFacts]()
    found: dict[str, Given] = {}
    dates: set[int | None] = set()
    # In the order of the index, so that each page of it is read once.
    ordered = sorted(tokens)
    for start in range(0, len(ordered), _CHUNK):
        for each in _read(conn, contract, ordered[start : start + _CHUNK]):
            token, name, position, uses, created, begins, ends, answer_by, of_age = each[:9]
            dates.update(each[5:9])
            alike = (*each[9:], at >= begins, at >= ends)
            # Only a date that has passed moves a state on.
            if ends <= at or (of_age or ends) <= at or (answer_by or ends) <= at:
                alike = (*alike, _state_now(_Row(*each), now))
            facts = known.get(alike)
            if facts is None:
                facts = known[alike] = _facts(contract, alike)
            found[token] = Given(name, position, uses, created, facts)
    return Said(found, min((date for date in dates if date is not None and date > at), default=None))


_CHANGED: Final = sa.select(records.c.subject_token).where(
    records.c.contract == sa.bindparam("of_contract"),
    records.c.idx >= sa.bindparam("since"),
    records.c.kind == Kind.CONTROL.value,
    records.c.subject_token != "",
)


def spoken_since(conn: sa.Connection, contract: str, size: int) -> set[str]:
    """Returns the tokens of those about whose consent under a contract anything was recorded since.

    No consent changes without a record of it in the same transaction (`gateway.state.change`), so the consents of all
    others are what they were.

    Args:
        conn: the connection of a ledger transaction.
        contract: `contracts/{contract}`, without a version.
        size: how many records the log had.
    """
    return set(conn.execute(_CHANGED, {"of_contract": contract, "since": size}).scalars())


def _state_now(row: _Row, now: datetime) -> str:
    of_age, answer_by = (None if each is None else from_ms(each) for each in (row.of_age_at, row.answer_by))
    return effective_state(_Dated(row.state, from_ms(row.not_after), of_age, answer_by), now).value


def _facts(contract: str, alike: Sequence[object]) -> ConsentFacts:
    version, digest, state, purposes, fields, modes, begun, over, *moved = alike
    return ConsentFacts(
        state=str(moved[0] if moved else state),
        begun=bool(begun),
        over=bool(over),
        contract=f"{contract}@{version}",
        terms_digest=str(digest),
        purposes=frozenset(json.loads(str(purposes))),
        fields=frozenset(json.loads(str(fields))),
        modes=frozenset(json.loads(str(modes))),
    )


def last_word(tokens: Sequence[str], found: Mapping[str, Given]) -> list[Given]:
    """Returns what a person said last: after a change of keys there may be a consent under each of several tokens."""
    given = [found[token] for token in tokens if token in found]
    last = max((each.created for each in given), default=0)
    return [each for each in given if each.created == last]
