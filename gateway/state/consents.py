"""The store of consents and their events. Subjects appear as keyed tokens only."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from gateway.state.prepared import Prepared
from gateway.state.schema import consent_events, consent_parties, consents
from gateway.state.times import from_ms, to_ms
from isthmus.errors import InvalidArgument

_MAX_INSTANT_DIGITS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRow:
    """A consent as it was last written; `gateway.consents.states` adds the clock.

    `contract` is `contracts/{contract}@{version}`; `current` says whether it is the one that speaks for the
    subject under that contract. `grantor`, `collection` and `modes` are enum names without prefix. `max_uses` is 0 for
    no limit. While `required_parties` are named and not all in `consented_parties`, it waits for the others.
    """

    name: str
    contract: str
    terms_digest: str
    subject_token: str
    current: bool
    state: str
    state_reason: str
    purposes: tuple[str, ...]
    fields: tuple[str, ...]
    modes: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    answer_by: datetime | None
    grantor: str
    collection: str
    evidence_reference: str
    notice: Mapping[str, str]
    portal: str
    statement: str
    statement_digest: str
    created_at: datetime
    updated_at: datetime
    position: int
    required_parties: tuple[str, ...] = ()
    consented_parties: tuple[str, ...] = ()
    max_uses: int = 0
    of_age_at: datetime | None = None

    @property
    def contract_name(self) -> str:
        """`contracts/{contract}`."""
        return self.contract.partition("@")[0]


# What a row means never changes, so a row that was read before is not parsed again: an exchange reads its consent twice.
@lru_cache(maxsize=512)
def _read(row: Any) -> ConsentRow:
    return ConsentRow(
        name=row.name,
        contract=f"{row.contract}@{row.version}",
        terms_digest=row.terms_digest,
        subject_token=row.subject_token,
        current=bool(row.current),
        state=row.state,
        state_reason=row.state_reason,
        purposes=_texts(row.purposes),
        fields=_texts(row.fields),
        modes=_texts(row.modes),
        not_before=from_ms(row.not_before),
        not_after=from_ms(row.not_after),
        answer_by=None if row.answer_by is None else from_ms(row.answer_by),
        grantor=row.grantor,
        collection=row.collection,
        evidence_reference=row.evidence_reference,
        notice=_members(row.notice),
        portal=row.portal,
        statement=row.statement,
        statement_digest=row.statement_digest,
        created_at=from_ms(row.created_at),
        updated_at=from_ms(row.updated_at),
        position=row.position,
        required_parties=_texts(row.required_parties),
        consented_parties=_texts(row.consented_parties),
        max_uses=row.max_uses,
        of_age_at=None if row.of_age_at is None else from_ms(row.of_age_at),
    )


# Most consents to a contract say the same in the same words.
@lru_cache(maxsize=1024)
def _texts(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


@lru_cache(maxsize=1024)
def _members(text: str) -> Mapping[str, str]:
    return MappingProxyType(json.loads(text))


def get_consent(conn: sa.Connection, name: str) -> ConsentRow | None:
    """Returns one consent, or None."""
    row = conn.execute(sa.select(consents).where(consents.c.name == name)).one_or_none()
    return None if row is None else _read(row)


# By the subject alone: nobody consents to very many contracts.
_OF_SUBJECTS: Final = Prepared(
    lambda theirs: sa.select(consents).where(theirs, consents.c.current.is_(True)), [consents.c.subject_token]
)


def consents_of(
    conn: sa.Connection, pairs: Collection[tuple[str, str]]
) -> dict[tuple[str, str], list[ConsentRow]]:
    """Returns what each subject last said under each contract, by pair.

    Args:
        conn: a connection; one query per 256 subjects.
        pairs: `contracts/{contract}` without a version, and a subject token.

    Returns:
        At most one consent a pair, in any state it has come to (the caller adds the clock); a pair without one
        is absent. A list, because tokens of several key epochs may one day stand for the same person.
    """
    wanted, found = frozenset(pairs), dict[tuple[str, str], list[ConsentRow]]()
    for row in _OF_SUBJECTS.rows(conn, sorted({token for _, token in wanted})):
        if (pair := (row.contract, row.subject_token)) in wanted:
            found.setdefault(pair, []).append(_read(row))
    return found


def consents_where(conn: sa.Connection, condition: sa.ColumnElement[bool], *, limit: int) -> list[ConsentRow]:
    """Returns consents by a condition on their table, by name, at most `limit`."""
    query = sa.select(consents).where(condition).order_by(consents.c.name).limit(limit)
    return [_read(row) for row in conn.execute(query)]


def page_of_consents(
    conn: sa.Connection, *, tokens: Sequence[str], contract: str, after: str, limit: int
) -> list[ConsentRow]:
    """Returns consents, oldest first.

    Args:
        conn: a read snapshot.
        tokens: only of the subject with these tokens, one a key epoch; empty for all.
        contract: only to `contracts/{contract}`; empty for all.
        after: the cursor of the last row of the page before, from `cursor_of`; empty for the first page.
        limit: at most so many.
    """
    query = sa.select(consents)
    if tokens:
        query = query.where(consents.c.subject_token.in_(list(tokens)))
    if contract:
        query = query.where(consents.c.contract == contract)
    if after:
        created, name = _place(after)
        query = query.where(
            sa.or_(
                consents.c.created_at > created,
                sa.and_(consents.c.created_at == created, consents.c.name > name),
            )
        )
    query = query.order_by(consents.c.created_at, consents.c.name).limit(limit)
    return [_read(row) for row in conn.execute(query)]


def _place(cursor: str) -> tuple[int, str]:
    created, _, name = cursor.partition(" ")
    if not (created.isascii() and created.isdigit() and len(created) <= _MAX_INSTANT_DIGITS):
        raise InvalidArgument("page_token", "is not one that this method returned")
    return int(created), name


def cursor_of(row: ConsentRow) -> str:
    """Returns the place of a row in the order of `page_of_consents`."""
    return f"{to_ms(row.created_at)} {row.name}"


def put_consent(conn: sa.Connection, row: ConsentRow) -> None:
    """Writes a whole consent, new or answered. Before it becomes `current`, the one before must not be."""
    conn.execute(consents.delete().where(consents.c.name == row.name))
    contract, _, version = row.contract.partition("@")
    conn.execute(
        consents.insert().values(
            name=row.name,
            contract=contract,
            version=int(version),
            terms_digest=row.terms_digest,
            subject_token=row.subject_token,
            current=row.current,
            state=row.state,
            state_reason=row.state_reason,
            purposes=_text(row.purposes),
            fields=_text(row.fields),
            modes=_text(row.modes),
            not_before=to_ms(row.not_before),
            not_after=to_ms(row.not_after),
            answer_by=None if row.answer_by is None else to_ms(row.answer_by),
            required_parties=_text(row.required_parties),
            consented_parties=_text(row.consented_parties),
            max_uses=row.max_uses,
            of_age_at=None if row.of_age_at is None else to_ms(row.of_age_at),
            grantor=row.grantor,
            collection=row.collection,
            evidence_reference=row.evidence_reference,
            notice=_text(dict(row.notice)),
            portal=row.portal,
            statement=row.statement,
            statement_digest=row.statement_digest,
            created_at=to_ms(row.created_at),
            updated_at=to_ms(row.updated_at),
            position=row.position,
        )
    )


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def set_state(
    conn: sa.Connection,
    row: ConsentRow,
    *,
    state: str,
    reason: str,
    at: datetime,
    position: int,
    current: bool,
) -> None:
    """Writes where a consent stands now, and whether it still speaks for the subject."""
    conn.execute(
        consents.update()
        .where(consents.c.name == row.name)
        .values(state=state, state_reason=reason, updated_at=to_ms(at), position=position, current=current)
    )


def set_aside(conn: sa.Connection, name: str) -> None:
    """Notes that a consent which has ended no longer speaks for the subject, because a new one does."""
    conn.execute(consents.update().where(consents.c.name == name).values(current=False))


def add_party(
    conn: sa.Connection,
    name: str,
    *,
    party: str,
    statement: str,
    digest: str,
    at: datetime,
    position: int,
) -> None:
    """Keeps what one required party stated; the table's key refuses a second statement by the same party."""
    conn.execute(
        consent_parties.insert().values(
            consent=name, party=party, statement=statement, digest=digest, at=to_ms(at), position=position
        )
    )


def party_digests(conn: sa.Connection, name: str) -> frozenset[str]:
    """Returns the digests of what the parties to a consent stated; empty where there are none."""
    query = sa.select(consent_parties.c.digest).where(consent_parties.c.consent == name)
    return frozenset(conn.execute(query).scalars())


def add_event(
    conn: sa.Connection,
    name: str,
    *,
    type: str,
    from_state: str,
    to_state: str,
    actor: str,
    reason: str,
    at: datetime,
    position: int,
) -> None:
    """Appends an event to a consent's history."""
    last = sa.select(sa.func.max(consent_events.c.seq)).where(consent_events.c.consent == name)
    conn.execute(
        consent_events.insert().values(
            consent=name,
            seq=(conn.execute(last).scalar() or 0) + 1,
            type=type,
            from_state=from_state,
            to_state=to_state,
            actor=actor,
            reason=reason,
            at=to_ms(at),
            position=position,
        )
    )
