"""A grant is written by hand in canonical form: it must be what RFC 8785 makes of its members."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.grant import Passenger, make_grant
from gateway.exchange.item import Asked, Exchange, Mode
from gateway.exchange.state import SubjectKey, View
from gateway.state.contracts import ContractRow
from isthmus.canonical import canonical_json, sha256_hex
from isthmus.terms import rfc3339

NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), unique=True, min_size=1
)


def _contract(document: dict[str, Any]) -> ContractRow:
    text = canonical_json(document)
    return ContractRow(
        name="contracts/x",
        version=3,
        provider="departments/p",
        consumer=document["consumer"],
        dataset=document["dataset"],
        terms=document,
        terms_json=text.decode(),
        terms_digest=sha256_hex(text),
        state="ACTIVE",
        state_reason="",
        proposer="departments/c",
        suspended_by=None,
        signatures=frozenset(),
        not_before=NOW,
        not_after=NOW,
        created_at=NOW,
        updated_at=NOW,
        position=0,
    )


@given(
    names=_NAMES,
    transform=_TEXT,
    purpose=_TEXT,
    identifiers=st.lists(_TEXT, min_size=1, max_size=3),
    scheme=_TEXT,
    filters=st.sampled_from([[], [{"field": "名", "operator": "EQ", "values": [{"string": '"\\\u2028'}]}]]),
    predicate=st.sampled_from([None, {"field": "年", "operator": "GE", "values": [{"int64": "5"}]}]),
)
def test_a_grant_is_the_canonical_form_of_what_it_says(
    names: list[str],
    transform: str,
    purpose: str,
    identifiers: list[str],
    scheme: str,
    filters: list[Any],
    predicate: dict[str, Any] | None,
) -> None:
    contract = _contract(
        {
            "consumer": "departments/c",
            "dataset": "departments/p/datasets/d",
            "fields": [{"name": name, "transform": transform} for name in names],
            "row_filters": filters,
        }
    )
    passengers = [
        _passenger(
            number,
            contract,
            Mode.VERIFY if predicate else Mode.QUERY,
            names,
            purpose,
            scheme,
            text,
            predicate,
        )
        for number, text in enumerate(identifiers)
    ]
    grant = make_grant("departments/p", passengers, now=NOW)
    said = json.loads(grant.document)
    assert canonical_json(said) == grant.document
    assert said["expires_at"] == rfc3339(NOW + timedelta(seconds=30))
    assert [each["subjects"] for each in said["items"]] == [
        [{"id": text, "scheme": scheme, "token": f"1.{number}"}] for number, text in enumerate(identifiers)
    ]
    assert all(
        each
        == {
            "exchange": f"exchanges/{number}",
            "mode": "VERIFY" if predicate else "QUERY",
            "consumer": "departments/c",
            "system": "departments/c/systems/s",
            "contract": "contracts/x@3",
            "terms_digest": contract.terms_digest,
            "dataset": "departments/p/datasets/d",
            "purpose": purpose,
            "fields": [{"name": name, "transform": transform} for name in names],
            "row_filters": filters,
            "subjects": each["subjects"],
            "predicate": predicate,
        }
        for number, each in enumerate(said["items"])
    )


def _passenger(
    number: int,
    contract: ContractRow,
    mode: Mode,
    names: list[str],
    purpose: str,
    scheme: str,
    identifier: str,
    predicate: dict[str, Any] | None,
) -> Passenger:
    asked = Asked(
        caller="spiffe://data.example/department/c/system/s",
        certificate="00",
        system="departments/c/systems/s",
        consumer="departments/c",
        mode=mode,
        contract="contracts/x",
        purpose=purpose,
        case_reference="",
        fields=tuple(names),
        scheme=scheme,
        identifier=identifier,
        predicate=predicate,
        request=b"",
    )
    exchange = Exchange(f"exchanges/{number}", asked, received=NOW, deadline=NOW + timedelta(seconds=1))
    subject = SubjectKey(identifier, f"1.{number}", ())
    return Passenger(exchange, View(asked, contract, None, subject, None, ()), contract)
