"""The store of contracts, their signatures and their events."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from audit.ledger.schema import records
from gateway.contracts.states import IN_FORCE, ContractState
from gateway.state.prepared import Prepared
from gateway.state.schema import contract_signatures, contracts
from gateway.state.terms import ContractDamaged, DamagedTerms, read_terms
from gateway.state.times import from_ms, to_ms

_OPEN = sorted({ContractState.PROPOSED, *IN_FORCE})
_PLAIN_FACTS: Final = (
    "submitter",
    "scenario",
    "rule_pack",
    "sharing_class",
    "supplement_request",
    "extended_by",
    "answer_workdays",
    "agreed_position",
)
_INSTANT_FACTS: Final = (
    "suspended_at",
    "rectify_by",
    "resumed_at",
    "supplement_requested_at",
    "supplemented_at",
    "answered_at",
    "agreed_at",
    "superseded_at",
)

Facts: TypeAlias = Mapping[str, str | int | datetime | None]
"""What a step leaves behind besides the state, by column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRow:
    """One version of a contract as it was last written; `gateway.contracts.states` adds the clock.

    `name` is `contracts/{contract}`, `terms` the document that is signed and `terms_json` its exact text; terms that
    `terms_digest` does not stand for are `DamagedTerms`.
    `signatures` holds the departments (`departments/{department}`) that have signed. `rule_pack` and `sharing_class`
    are those that the case began under. The instants after them are facts that deadlines follow from: see
    `gateway.contracts.deadlines`. `superseded_at` is when a later agreed version takes over.
    """

    name: str
    version: int
    provider: str
    consumer: str
    dataset: str
    terms: Mapping[str, Any]
    terms_json: str
    terms_digest: str
    state: str
    state_reason: str
    proposer: str
    suspended_by: str | None
    signatures: frozenset[str]
    not_before: datetime
    not_after: datetime
    created_at: datetime
    updated_at: datetime
    position: int
    submitter: str = ""
    scenario: str = ""
    rule_pack: str = ""
    sharing_class: str = ""
    suspended_at: datetime | None = None
    rectify_by: datetime | None = None
    resumed_at: datetime | None = None
    supplement_request: str = ""
    supplement_requested_at: datetime | None = None
    supplemented_at: datetime | None = None
    extended_by: int = 0
    answered_at: datetime | None = None
    answer_workdays: int | None = None
    agreed_at: datetime | None = None
    agreed_position: int | None = None
    superseded_at: datetime | None = None

    @property
    def full_name(self) -> str:
        """`contracts/{contract}@{version}`."""
        return f"{self.name}@{self.version}"

    @property
    def parties(self) -> frozenset[str]:
        """The two departments."""
        return frozenset({self.provider, self.consumer})

    @property
    def damage(self) -> ContractDamaged | None:
        """Why the terms cannot be used; None when they are those that `terms_digest` stands for."""
        return self.terms.damage if isinstance(self.terms, DamagedTerms) else None


def _rows(conn: sa.Connection, query: sa.Select[Any]) -> list[ContractRow]:
    return with_signatures(conn, conn.execute(query).all())


def with_signatures(conn: sa.Connection, found: Sequence[Any]) -> list[ContractRow]:
    """Returns what rows of the table of contracts say, each with its signatures, in their order."""
    signed = _signers(conn, [(row.contract, row.version) for row in found])
    return [_read(row, signed.get((row.contract, row.version), frozenset())) for row in found]


# What a row means never changes, so a row that was read before is not parsed again.
@lru_cache(maxsize=4096)
def _read(row: Any, signatures: frozenset[str]) -> ContractRow:
    return ContractRow(
        name=row.contract,
        version=row.version,
        provider=row.provider,
        consumer=row.consumer,
        dataset=row.dataset,
        terms=read_terms(row.terms, row.terms_digest, name=f"{row.contract}@{row.version}"),
        terms_json=row.terms,
        terms_digest=row.terms_digest,
        state=row.state,
        state_reason=row.state_reason,
        proposer=row.proposer,
        suspended_by=row.suspended_by,
        signatures=signatures,
        not_before=from_ms(row.not_before),
        not_after=from_ms(row.not_after),
        created_at=from_ms(row.created_at),
        updated_at=from_ms(row.updated_at),
        position=row.position,
        **_facts(row),
    )


def _facts(row: Any) -> dict[str, Any]:
    plain = {name: getattr(row, name) for name in _PLAIN_FACTS}
    return plain | {name: _instant(getattr(row, name)) for name in _INSTANT_FACTS}


def _instant(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_ms(milliseconds)


def _signers(conn: sa.Connection, versions: list[tuple[str, int]]) -> dict[tuple[str, int], frozenset[str]]:
    signed = dict[tuple[str, int], set[str]]()
    for contract, version, department in _SIGNERS.rows(conn, versions):
        signed.setdefault((contract, version), set()).add(department)
    return {key: frozenset(departments) for key, departments in signed.items()}


def get_version(conn: sa.Connection, name: str, version: int) -> ContractRow | None:
    """Returns one version of `contracts/{contract}`, or None."""
    query = sa.select(contracts).where(contracts.c.contract == name, contracts.c.version == version)
    return next(iter(_rows(conn, query)), None)


def get_newest(conn: sa.Connection, name: str) -> ContractRow | None:
    """Returns the newest version of `contracts/{contract}`, whatever its state, or None."""
    query = sa.select(contracts).where(contracts.c.contract == name)
    return next(iter(_rows(conn, query.order_by(contracts.c.version.desc()).limit(1))), None)


def get_older_in(
    conn: sa.Connection, name: str, version: int, *, states: Collection[str]
) -> list[ContractRow]:
    """Returns the versions before `version` whose stored state is among `states`, oldest first."""
    query = sa.select(contracts).where(
        contracts.c.contract == name, contracts.c.version < version, contracts.c.state.in_(sorted(states))
    )
    return _rows(conn, query.order_by(contracts.c.version))


_SIGNED: Final = (contract_signatures.c.contract, contract_signatures.c.version)
_SIGNERS: Final = Prepared(
    lambda signed: sa.select(*_SIGNED, contract_signatures.c.department).where(signed), _SIGNED
)


@dataclass(frozen=True, slots=True)
class OpenVersion:
    """A version that time can still do something to; `trace` changes with whatever is written to it."""

    name: str
    version: int
    trace: tuple[int, int | None]


def open_versions(conn: sa.Connection) -> list[OpenVersion]:
    """Returns the versions that time can still do something to, by name and version."""
    key = (contracts.c.contract, contracts.c.version)
    query = sa.select(*key, contracts.c.position, contracts.c.superseded_at).where(
        contracts.c.state.in_(_OPEN)
    )
    rows = conn.execute(query.order_by(*key))
    return [OpenVersion(name, version, (position, end)) for name, version, position, end in rows]


def rule_packs_in_use(conn: sa.Connection) -> frozenset[str]:
    """Returns the refs of the rule packs that any contract began under."""
    return frozenset(conn.execute(sa.select(contracts.c.rule_pack).distinct()).scalars())


def first_release(conn: sa.Connection, row: ContractRow) -> datetime | None:
    """Returns when data first went out under a version, from the records; None while none did."""
    if row.agreed_position is None:
        return None
    query = (
        sa.select(records.c.at_ms)
        .where(
            records.c.contract == row.name,
            records.c.version == row.version,
            records.c.decision == "ALLOW",
            records.c.idx > row.agreed_position,
        )
        .order_by(records.c.idx)
        .limit(1)
    )
    return _instant(conn.execute(query).scalar())


def page_of_contracts(
    conn: sa.Connection, *, visible_to: str, provider: str, consumer: str, after: str, limit: int
) -> list[ContractRow]:
    """Returns the newest version of each contract, by name.

    Args:
        conn: a read snapshot.
        visible_to: only contracts to which this department is a party; empty for all.
        provider: only contracts of this provider; empty for all.
        consumer: only contracts of this consumer; empty for all.
        after: the last name of the page before; empty for the first page.
        limit: at most so many.
    """
    newest = (
        sa.select(contracts.c.contract, sa.func.max(contracts.c.version).label("version"))
        .where(contracts.c.contract > after)
        .group_by(contracts.c.contract)
        .subquery()
    )
    query = sa.select(contracts).join(
        newest,
        sa.and_(contracts.c.contract == newest.c.contract, contracts.c.version == newest.c.version),
    )
    if visible_to:
        query = query.where(sa.or_(contracts.c.provider == visible_to, contracts.c.consumer == visible_to))
    if provider:
        query = query.where(contracts.c.provider == provider)
    if consumer:
        query = query.where(contracts.c.consumer == consumer)
    return _rows(conn, query.order_by(contracts.c.contract).limit(limit))


def insert_contract(conn: sa.Connection, row: ContractRow) -> None:
    """Adds a version. The terms are written once and no function here changes them."""
    conn.execute(
        contracts.insert().values(
            contract=row.name,
            version=row.version,
            provider=row.provider,
            consumer=row.consumer,
            dataset=row.dataset,
            terms=row.terms_json,
            terms_digest=row.terms_digest,
            state=row.state,
            state_reason=row.state_reason,
            proposer=row.proposer,
            suspended_by=row.suspended_by,
            **{name: getattr(row, name) for name in _PLAIN_FACTS},
            **_columns({name: getattr(row, name) for name in _INSTANT_FACTS}),
            not_before=to_ms(row.not_before),
            not_after=to_ms(row.not_after),
            created_at=to_ms(row.created_at),
            updated_at=to_ms(row.updated_at),
            position=row.position,
        )
    )


def set_state(
    conn: sa.Connection,
    row: ContractRow,
    *,
    state: str,
    reason: str,
    at: datetime,
    position: int,
    facts: Facts = MappingProxyType({}),
) -> None:
    """Writes where a version stands now, and the facts that its last step leaves behind."""
    conn.execute(
        contracts.update()
        .where(contracts.c.contract == row.name, contracts.c.version == row.version)
        .values(state=state, state_reason=reason, updated_at=to_ms(at), position=position, **_columns(facts))
    )


def set_superseded_at(conn: sa.Connection, row: ContractRow, at: datetime | None) -> None:
    """Writes when a later version takes over; None for never."""
    conn.execute(
        contracts.update()
        .where(contracts.c.contract == row.name, contracts.c.version == row.version)
        .values(_columns({"superseded_at": at}))
    )


def _columns(facts: Facts) -> dict[str, str | int | None]:
    return {name: to_ms(fact) if isinstance(fact, datetime) else fact for name, fact in facts.items()}
