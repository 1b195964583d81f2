"""What a portal signs about a consent: written, read back, and refused by the member that is wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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
