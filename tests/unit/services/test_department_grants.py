"""Every way to bring a grant that does not count: each is refused whole, and nothing is served."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import PermissionDenied
from isthmus.identity import Identity, Role
from isthmus.ids import new_exchange
from isthmus.pki import create_authority
from isthmus.reasons import Reason
from isthmus.statement import StatementKind, sign
from isthmus.terms import rfc3339
from services.grant_items import read_items
from services.journal import Journal
from services.members import GrantFormError, Members

DOMAIN = "data.example"


def refused(world: Any, token: str, words: str, *, caller: Identity | None = None) -> None:
    with pytest.raises(PermissionDenied) as error:
        world.fetcher.fetch(token, caller=caller or world.gateway)
    assert error.value.reason is Reason.GRANT_INVALID
    assert words in error.value.message
    assert list(world.journal.entries()) == []


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "." * 3, "a" * 4_000_000])
def test_what_is_no_statement_is_refused(world: Any, token: str) -> None:
    refused(world, token, "grant is refused")


@pytest.mark.parametrize(
    "signer",
    [
        Identity(DOMAIN, Role.NODE, "civil-registry", "n1"),
        Identity(DOMAIN, Role.SYSTEM, "education", "enrolment"),
        Identity(DOMAIN, Role.OFFICER, "civil-registry", "wang"),
        Identity(DOMAIN, Role.OPERATOR, None, "o1"),
        Identity(DOMAIN, Role.AUDITOR, None, "a1"),
    ],
)
def test_only_a_gateway_can_sign_a_grant(world: Any, signer: Identity) -> None:
    token = sign(world.payload(world.item()), StatementKind.GRANT, world.credentials(signer))
    refused(world, token, "signature of gateway is required", caller=signer)


def test_a_grant_signed_by_another_gateway_than_the_caller_is_refused(world: Any) -> None:
    other = Identity(DOMAIN, Role.GATEWAY, None, "other")
    token = sign(world.payload(world.item()), StatementKind.GRANT, world.credentials(other))
    refused(world, token, "signed by gateways/other and brought by gateways/main")


def test_a_gateway_of_another_authority_or_trust_domain_signs_nothing_here(world: Any) -> None:
    for domain in (DOMAIN, "evil.example"):
        authority = create_authority(domain, now=world.clock())
        forger = world.credentials(Identity(domain, Role.GATEWAY, None, "main"), authority=authority)
        refused(world, sign(world.payload(world.item()), StatementKind.GRANT, forger), "grant is refused")


@pytest.mark.parametrize("kind", [kind for kind in StatementKind if kind is not StatementKind.GRANT])
def test_another_kind_of_statement_is_no_grant(world: Any, kind: StatementKind) -> None:
    refused(
        world, sign(world.payload(world.item()), kind, world.gateway_credentials), "not isthmus-grant+jws"
    )


def test_a_grant_that_was_changed_after_signing_is_refused(world: Any) -> None:
    first, second = world.grant(world.item()), world.grant(world.item("TWO"))
    spliced = ".".join((first.split(".")[0], second.split(".")[1], first.split(".")[2]))
    refused(world, spliced, "signature")


def test_a_grant_for_another_department_is_refused(world: Any) -> None:
    refused(world, world.grant(world.item(), department="departments/health"), "another node")


def test_a_grant_lives_at_most_thirty_seconds(world: Any) -> None:
    now = world.clock()
    for expires in (now + timedelta(seconds=31), now, now - timedelta(seconds=1)):
        refused(world, world.grant(world.item(), expires_at=rfc3339(expires)), "at most 30 seconds")


def test_an_expired_grant_is_refused_once_the_clocks_cannot_explain_it(world: Any) -> None:
    token = world.grant(world.item())
    world.clock.now += timedelta(seconds=34)
    assert world.fetcher.fetch(token, caller=world.gateway).outcomes
    late = world.grant(world.item())
    world.clock.now += timedelta(seconds=35)
    with pytest.raises(PermissionDenied, match="expired"):
        world.fetcher.fetch(late, caller=world.gateway)


def test_a_grant_from_the_future_is_refused(world: Any) -> None:
    issued = world.clock() + timedelta(seconds=6)
    expires = issued + timedelta(seconds=30)
    token = world.grant(world.item(), issued_at=rfc3339(issued), expires_at=rfc3339(expires))
    refused(world, token, "in the future")


def test_a_replayed_grant_is_refused_even_after_a_restart(world: Any) -> None:
    token = world.grant(world.item())
    world.fetcher.fetch(token, caller=world.gateway)
    with pytest.raises(PermissionDenied, match="used before"):
        world.fetcher.fetch(token, caller=world.gateway)
    world.journal.close()
    again = Journal(world.manifest.journal_url)
    assert len(list(again.entries())) == 1
    again.close()
    with pytest.raises(PermissionDenied, match="used before"):
        world.fetcher.fetch(token, caller=world.gateway)


def test_an_exchange_cannot_be_smuggled_into_a_second_grant(world: Any) -> None:
    used, fresh = world.item(), world.item("TWO")
    world.fetch(used)
    with pytest.raises(PermissionDenied, match="used before"):
        world.fetch(fresh, used)
    # The refusal took nothing of the fresh exchange.
    assert world.fetch(fresh).outcomes[0].row_count == 2


def test_of_many_who_race_with_one_grant_exactly_one_is_served(world: Any) -> None:
    token = world.grant(world.item(), world.item("TWO"))
    barrier, served, lost = threading.Barrier(8), [], []

    def race() -> None:
        barrier.wait()
        try:
            served.append(world.fetcher.fetch(token, caller=world.gateway))
        except PermissionDenied as error:
            lost.append(error.reason)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(served) == 1 and lost == [Reason.GRANT_INVALID] * 7
    assert len(list(world.journal.entries())) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exchange": "exchanges/1"}, "items[0].exchange"),
        ({"mode": "STREAM"}, "items[0].mode"),
        ({"mode": "query"}, "items[0].mode"),
        ({"consumer": "education"}, "items[0].consumer"),
        ({"system": "departments/health/systems/x"}, "items[0].system does not belong"),
        ({"contract": "contracts/edu-person"}, "version"),
        ({"terms_digest": "0"}, "items[0].terms_digest"),
        ({"dataset": "person"}, "items[0].dataset"),
        ({"purpose": ""}, "items[0].purpose"),
        ({"purpose": "x" * 257}, "items[0].purpose"),
        ({"fields": []}, "items[0].fields must be a list of 1 to 512"),
        ({"fields": [{"name": "a", "transform": "plain"}] * 2}, "names a field twice"),
        ({"fields": [{"name": "a", "transform": "rot13"}]}, "items[0].fields[0].transform"),
        ({"fields": [{"name": "a"}]}, "items[0].fields[0].transform"),
        ({"fields": [{"name": "a", "transform": "plain", "extra": 1}]}, "may hold only"),
        ({"fields": [{"name": f"f{n}", "transform": "plain"} for n in range(513)]}, "items[0].fields"),
        ({"subjects": []}, "items[0].subjects"),
        ({"subjects": [{"scheme": "a", "id": "x", "token": "1." + "0" * 32}] * 2}, "items[0].subjects"),
        ({"subjects": [{"scheme": "a", "id": "x", "token": "x"}]}, "items[0].subjects[0].token"),
        ({"subjects": [{"scheme": "A", "id": "x", "token": "1." + "0" * 32}]}, "items[0].subjects[0].scheme"),
        ({"predicate": {"field": "a", "operator": "EQ", "values": [{"string": "x"}]}}, "no other mode"),
        ({"mode": "VERIFY"}, "must be there for VERIFY"),
        ({"row_filters": [{"field": "a", "operator": "LIKE", "values": [{"string": "x"}]}]}, "no predicate"),
        ({"row_filters": [{"field": "a", "operator": "EQ", "values": []}]}, "row_filters[0].values"),
        (
            {"row_filters": [{"field": "a", "operator": "IN", "values": [{"int64": "1"}] * 101}]},
            "row_filters[0].values",
        ),
        ({"row_filters": ["1=1"]}, "row_filters[0]"),
        ({"subject_name": "x"}, "may hold only"),
    ],
)
def test_an_ill_formed_item_spoils_the_grant_and_is_named(
    world: Any, changes: dict[str, Any], words: str
) -> None:
    refused(world, world.grant(world.item() | changes), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"items": []}, "grant.items must be a list of 1 to 1024"),
        ({"grant": "1"}, "grant.grant"),
        ({"issued_at": "yesterday"}, "grant.issued_at"),
        ({"issued_at": "2026-11-23T08:00:00"}, "grant.issued_at"),
        ({"extra": True}, "may hold only"),
    ],
)
def test_an_ill_formed_grant_is_refused_and_the_member_named(
    world: Any, changes: dict[str, Any], words: str
) -> None:
    refused(world, world.grant(world.item(), **changes), words)


def test_one_exchange_cannot_stand_twice_in_a_grant(world: Any) -> None:
    item = world.item()
    refused(world, world.grant(item, item), "names an exchange twice")


def test_a_grant_names_no_more_subjects_than_it_may(world: Any) -> None:
    many = {"scheme": "a", "ids": [str(n) for n in range(10_000)], "tokens": ["1." + "0" * 32] * 10_000}
    items = [world.item(mode="BATCH", subjects=many), world.item()]
    refused(world, world.grant(*items), "more than 10000 subjects")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
MEMBER_NAMES = [
    "exchange",
    "mode",
    "consumer",
    "system",
    "contract",
    "terms_digest",
    "dataset",
    "purpose",
    "fields",
    "row_filters",
    "subjects",
    "predicate",
]


@given(st.data())
def test_whatever_stands_in_an_item_the_answer_is_an_item_or_a_named_fault(data: st.DataObject) -> None:
    from datetime import UTC, datetime

    item: dict[str, Any] = {
        "exchange": str(new_exchange(datetime(2026, 1, 1, tzinfo=UTC))),
        "mode": "QUERY",
        "consumer": "departments/a",
        "system": "departments/a/systems/b",
        "contract": "contracts/c@1",
        "terms_digest": "0" * 64,
        "dataset": "departments/d/datasets/e",
        "purpose": "p",
        "fields": [{"name": "f", "transform": "plain"}],
        "row_filters": [],
        "subjects": [{"scheme": "s", "id": "x", "token": "1." + "0" * 32}],
        "predicate": None,
    }
    assert read_items(Members({"items": [item]}, "grant", allowed={"items"}))
    item[data.draw(st.sampled_from(MEMBER_NAMES))] = data.draw(json_values)
    try:
        read_items(Members({"items": [item]}, "grant", allowed={"items"}))
    except GrantFormError as error:
        assert "items[0]" in str(error)
