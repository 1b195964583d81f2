"""The stores of the control state, against a real database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from gateway.contracts.states import AGREED_ONCE, IN_FORCE
from gateway.state.consents import ConsentRow, consents_of, put_consent, set_aside
from gateway.state.contracts import ContractRow, get_newest, insert_contract, set_state
from gateway.state.in_force import contracts_in_force
from gateway.state.schema import METADATA, contracts
from gateway.state.signatures import SignatureRow, insert_signature
from gateway.state.terms import ContractDamaged
from gateway.state.times import from_ms, to_ms
from isthmus.canonical import sha256_hex

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
VERSION = ContractRow(
    name="contracts/x",
    version=1,
    provider="departments/a",
    consumer="departments/b",
    dataset="departments/a/datasets/d",
    terms={"purposes": ["核验"]},
    terms_json='{"purposes":["核验"]}',
    terms_digest=sha256_hex('{"purposes":["核验"]}'.encode()),
    state="PROPOSED",
    state_reason="",
    proposer="departments/b",
    suspended_by=None,
    signatures=frozenset(),
    not_before=NOW,
    not_after=NOW + timedelta(days=1),
    created_at=NOW,
    updated_at=NOW,
    position=0,
)
CONSENT = ConsentRow(
    name="consents/1",
    contract="contracts/x@1",
    terms_digest="ab" * 32,
    subject_token="1.ab",
    current=True,
    state="ACTIVE",
    state_reason="",
    purposes=("核验",),
    fields=("姓名",),
    modes=("QUERY",),
    not_before=NOW,
    not_after=NOW + timedelta(days=1),
    answer_by=None,
    grantor="SELF",
    collection="ONLINE",
    evidence_reference="",
    notice={"uri": "x", "sha256": "ab" * 32, "language": "zh-CN"},
    portal="spiffe://data.example/portal/p",
    statement="a.b.c",
    statement_digest="cd" * 32,
    created_at=NOW,
    updated_at=NOW,
    position=1,
)


@pytest.fixture
def conn() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_a_row_comes_back_as_it_was_written(conn: sa.Connection) -> None:
    insert_contract(conn, VERSION)
    signature = SignatureRow("departments/a", "spiffe://x", "ab" * 32, "a.b.c", "ef" * 32, NOW, 2)
    insert_signature(conn, VERSION, signature)
    assert get_newest(conn, "contracts/x") == replace(VERSION, signatures=frozenset({"departments/a"}))
    put_consent(conn, CONSENT)
    assert consents_of(conn, [("contracts/x", "1.ab")]) == {("contracts/x", "1.ab"): [CONSENT]}
    assert consents_of(conn, [("contracts/y", "1.ab"), ("contracts/x", "1.cd")]) == {}


def test_terms_that_are_not_what_was_signed_cannot_be_read(conn: sa.Connection) -> None:
    insert_contract(conn, VERSION)
    conn.execute(contracts.update().values(terms='{"purposes":["核验","营销"]}'))
    damaged = get_newest(conn, "contracts/x")
    assert damaged is not None and damaged.damage is not None
    assert (damaged.state, damaged.parties) == (VERSION.state, VERSION.parties)
    for use in (lambda: damaged.terms["purposes"], lambda: list(damaged.terms), lambda: len(damaged.terms)):
        with pytest.raises(ContractDamaged, match="contracts/x@1: its stored terms are not those"):
            use()
    conn.execute(contracts.update().values(terms="{"))
    assert contracts_in_force(conn, ["contracts/x"], NOW)["contracts/x"].damage is not None
    conn.execute(contracts.update().values(terms=VERSION.terms_json))
    assert get_newest(conn, "contracts/x") == VERSION


def test_a_department_signs_once_even_for_the_database(conn: sa.Connection) -> None:
    insert_contract(conn, VERSION)
    signature = SignatureRow("departments/a", "spiffe://x", "ab" * 32, "a.b.c", "ef" * 32, NOW, 2)
    insert_signature(conn, VERSION, signature)
    with pytest.raises(sa.exc.IntegrityError):
        insert_signature(conn, VERSION, replace(signature, digest="00" * 32))


def test_one_consent_speaks_for_a_person_even_for_the_database(conn: sa.Connection) -> None:
    put_consent(conn, CONSENT)
    with pytest.raises(sa.exc.IntegrityError):
        put_consent(conn, replace(CONSENT, name="consents/2"))
    set_aside(conn, CONSENT.name)
    put_consent(conn, replace(CONSENT, name="consents/2"))


@pytest.mark.parametrize("state", ["DRAFT", "active", "DELETED", ""])
def test_the_database_knows_no_other_states(conn: sa.Connection, state: str) -> None:
    insert_contract(conn, VERSION)
    with pytest.raises(sa.exc.IntegrityError):
        set_state(conn, VERSION, state=state, reason="", at=NOW, position=1)


@given(st.lists(st.sampled_from(sorted(AGREED_ONCE | {"PROPOSED", "COUNTERED", "REJECTED"})), max_size=6))
def test_the_version_that_counts_is_the_newest_that_was_agreed(states: list[str]) -> None:
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.begin() as conn:
        for number, state in enumerate(states, start=1):
            insert_contract(conn, replace(VERSION, version=number, state=state))
        insert_contract(conn, replace(VERSION, name="contracts/y", state="ACTIVE"))
        found = contracts_in_force(conn, ["contracts/x", "contracts/none"], NOW)
    engine.dispose()
    agreed = [number for number, state in enumerate(states, start=1) if state in AGREED_ONCE]
    current = [number for number in agreed if states[number - 1] in IN_FORCE]
    expected = max(current or agreed) if agreed else len(states)
    assert {name: row.version for name, row in found.items()} == ({"contracts/x": expected} if states else {})


def test_many_names_are_read_at_once(conn: sa.Connection) -> None:
    for number in range(1100):
        insert_contract(conn, replace(VERSION, name=f"contracts/c{number}", state="ACTIVE"))
    assert len(contracts_in_force(conn, [f"contracts/c{number}" for number in range(1100)], NOW)) == 1100


def test_the_tables_fit_postgresql() -> None:
    dialect: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in METADATA.sorted_tables:
        assert str(sa.schema.CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(sa.schema.CreateIndex(index).compile(dialect=dialect))
    assert 'COLLATE "C"' in str(sa.schema.CreateTable(contracts).compile(dialect=dialect))


@given(st.integers(0, to_ms(datetime.max.replace(tzinfo=UTC))), st.integers(0, 999))
def test_instants_keep_their_milliseconds(milliseconds: int, microseconds: int) -> None:
    assert to_ms(from_ms(milliseconds) + timedelta(microseconds=microseconds)) == milliseconds
