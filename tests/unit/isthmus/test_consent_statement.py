"""What a portal signs about a consent: written, read back, and refused by the member that is wrong."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from isthmus.canonical import canonical_json
from isthmus.consent_statement import ConsentStatement
from isthmus.errors import StatementInvalid

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


def statement() -> ConsentStatement:
    return ConsentStatement(
        consent="consents/00000000-0000-4000-8000-000000000000",
        contract="contracts/edu-person-2026@1",
        terms_digest="0" * 64,
        subject_commitment="1" * 64,
        purposes=("入学资格核验",),
        fields=("birth_date", "姓名"),
        modes=("QUERY", "VERIFY"),
        not_before=NOW,
        not_after=NOW + timedelta(days=30),
        grantor="GUARDIAN",
        collection="COUNTER",
        evidence_reference="窗口-2026-0001",
        notice={"uri": "https://example.gov/notice", "sha256": "2" * 64, "language": "zh-CN"},
        stated_at=NOW,
    )


def test_a_statement_reads_back_as_it_was_signed() -> None:
    assert ConsentStatement.parse(statement().document()) == statement()


def test_a_statement_with_every_member_reads_back() -> None:
    whole = replace(statement(), party="母亲", max_uses=3, of_age_at=NOW + timedelta(days=900))
    assert ConsentStatement.parse(whole.document()) == whole
    assert whole.document().keys() - statement().document().keys() == {"party", "max_uses", "of_age_at"}


def test_an_older_statement_without_the_optional_members_is_what_it_was() -> None:
    old = statement().document()
    read = ConsentStatement.parse(old)
    assert (read.party, read.max_uses, read.of_age_at) == ("", 0, None)
    assert canonical_json(read.document()) == canonical_json(old)


def test_an_optional_member_may_say_that_there_is_nothing() -> None:
    nothing = {"party": "", "max_uses": 0, "of_age_at": None}
    assert ConsentStatement.parse({**statement().document(), **nothing}) == statement()


@pytest.mark.parametrize(
    ("member", "content", "complaint"),
    [
        ("purposes", [], "1 to 512"),
        ("purposes", "入学资格核验", "list of texts"),
        ("fields", ["a", "a"], "different"),
        ("modes", ["PEEK"], "modes must be among"),
        ("grantor", "NEIGHBOUR", "SELF, GUARDIAN or DELEGATE"),
        ("collection", "HEARSAY", "ONLINE, COUNTER or PAPER"),
        ("notice", {"uri": ""}, "uri, sha256 and language"),
        ("not_after", "soon", "RFC 3339"),
        ("stated_at", 5, "stated_at must be text"),
        ("consent", "x" * 1025, "at most 1024"),
        ("max_uses", -1, "max_uses must be a whole number"),
        ("max_uses", True, "max_uses must be a whole number"),
        ("max_uses", "3", "max_uses must be a whole number"),
        ("max_uses", 10**12, "max_uses must be a whole number"),
        ("max_uses", None, "max_uses must be a whole number"),
        ("party", None, "party must be text"),
        ("of_age_at", 2031, "of_age_at must be text"),
        ("of_age_at", "soon", "RFC 3339"),
    ],
)
def test_a_wrong_member_is_named(member: str, content: Any, complaint: str) -> None:
    with pytest.raises(StatementInvalid, match=complaint):
        ConsentStatement.parse({**statement().document(), member: content})


@pytest.mark.parametrize("member", sorted(statement().document()))
def test_a_missing_member_is_named(member: str) -> None:
    rest = {key: value for key, value in statement().document().items() if key != member}
    with pytest.raises(StatementInvalid, match=f"{member}' is missing"):
        ConsentStatement.parse(rest)


def test_an_unknown_member_is_refused() -> None:
    with pytest.raises(StatementInvalid, match="'also' is unknown"):
        ConsentStatement.parse({**statement().document(), "also": "x"})
