"""Counting the trail over real connections: what is counted, what an officer counts, and what a count leaves."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from audit.ledger import Ledger
from audit.ledger.errors import LedgerDamaged
from audit.search.count import BY, count_records
from audit.search.find import Finder, Search
from isthmus.cli.main import app
from isthmus.errors import DeadlineExceeded, InvalidArgument, Unavailable
from tests.integration.audit_calls import PERSON, at_rest, filled_world, leaves
from tests.integration.audit_world import AUDITOR, EDUCATION, OPERATOR, REGISTRY, TAX, AuditWorld, token
from tests.unit.audit.ledger_world import START, append, control, decision, denial, ledger_in

pytestmark = pytest.mark.integration

PURPOSE = "义务教育入学资格核验"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AuditWorld]:
    with filled_world(tmp_path) as one:
        yield one


def lines(found: object) -> list[tuple[tuple[str, ...], int]]:
    return [(tuple(each.values), each.count) for each in found.counts]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ((), [((), 5)]),
        (("decision",), [(("ALLOW",), 2), (("",), 1), (("DENY",), 1), (("ERROR",), 1)]),
        (("consumer",), [(("departments/tax",), 4), (("departments/education",), 1)]),
        (("provider",), [(("departments/civil-registry",), 4), (("departments/health",), 1)]),
        (("purpose",), [((PURPOSE,), 4), (("",), 1)]),
        (("case_reference",), [(("案件-2026-001",), 4), (("",), 1)]),
        (("system",), [(("departments/education/systems/enrolment",), 4), (("",), 1)]),
        (("emergency",), [(("false",), 5)]),
        (("kind",), [(("DECISION",), 4), (("CONTROL",), 1)]),
        (("contract", "mode"), [(("contracts/tax-person@1", ""), 1)]),
        (("month",), [(("2026-11",), 5)]),
        (("day",), [(("2026-11-02",), 5)]),
        (("hour",), [(("2026-11-02T08",), 5)]),
        (
            ("reason",),
            [
                (("",), 3),
                (("CONSENT_WITHDRAWN",), 1),
                (("DEPARTMENT_TIMEOUT",), 1),
                (("QUOTA_EXHAUSTED",), 1),
            ],
        ),
        (
            ("consumer", "provider", "decision"),
            [
                (("departments/education", "departments/civil-registry", "ALLOW"), 1),
                (("departments/tax", "departments/civil-registry", ""), 1),
            ],
        ),
    ],
)
def test_records_are_counted_by_what_they_hold(
    world: AuditWorld, by: tuple[str, ...], expected: list[tuple[tuple[str, ...], int]]
) -> None:
    found = world.audit(AUDITOR).count("index < 5", by=by)
    assert found.total == 5 and not found.truncated
    counted = lines(found)
    assert set(expected) <= set(counted)
    assert [count for _, count in counted] == sorted((count for _, count in counted), reverse=True)
    if sum(count for _, count in expected) >= 5:
        assert counted == expected


def test_the_most_frequent_lines_come_first_and_the_rest_is_announced(world: AuditWorld) -> None:
    found = world.audit(AUDITOR).count("index < 5", by=("purpose", "decision"), page_size=1)
    assert lines(found) == [((PURPOSE, "ALLOW"), 2)]
    assert (found.total, found.truncated) == (5, True)


def test_an_officer_counts_the_records_of_its_own_department_only(world: AuditWorld) -> None:
    person = token("11010119900307231X")
    append(
        world.ledger, control("GrantConsent", "consents/x", consumer="departments/tax", subject_token=person)
    )
    for who, total in ((EDUCATION, 1), (REGISTRY, 4), (TAX, 4)):
        found = world.audit(who).count("index < 100", by=("consumer",))
        assert found.total == total
    assert "departments/education" not in str(world.audit(TAX).count(by=("consumer",)))
    assert world.audit(AUDITOR).count("action = GrantConsent").total == 1


def test_no_filter_widens_what_an_officer_counts(world: AuditWorld) -> None:
    for filter_ in ("index >= 0", "NOT consumer = departments/education", "kind = LOOKUP OR index = 4"):
        assert world.audit(EDUCATION).count(filter_).total <= 1


def test_an_operator_counts_nothing(world: AuditWorld) -> None:
    with pytest.raises(Exception, match="operator"):
        world.audit(OPERATOR).count()
    assert len(leaves(world)) == 5


def test_a_count_is_itself_a_record(world: AuditWorld) -> None:
    world.audit(AUDITOR).count("decision = DENY", by=("consumer",), reason="年度抽查")
    record = leaves(world)[-1]
    assert (record.kind, record.action, record.row_count) == ("LOOKUP", "CountRecords", 1)
    assert set(record.change) == {"filter_commitment", "by_commitment", "reason_commitment"}
    assert "年度抽查" not in at_rest(world)


def test_a_count_that_cannot_be_recorded_shows_nothing(world: AuditWorld) -> None:
    holder = sqlite3.connect(world.folder / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    hurried = world.client(AUDITOR).with_deadline(1).audit
    with pytest.raises((Unavailable, DeadlineExceeded)):
        hurried.count()
    holder.execute("ROLLBACK")
    holder.close()


def test_a_person_is_counted_with_a_reason_only(world: AuditWorld) -> None:
    with pytest.raises(InvalidArgument, match="reason"):
        world.audit(AUDITOR).count(subject=PERSON)
    assert world.audit(AUDITOR).count(subject=PERSON, reason="投诉").total == 3


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (("subject_token",), "counts by action, caller, case_reference"),
        (("consumer", "consumer"), "by"),
        (("consumer", "provider", "purpose", "mode"), "by"),
    ],
)
def test_what_cannot_be_counted_by_is_refused(world: AuditWorld, by: tuple[str, ...], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        world.audit(AUDITOR).count(by=by)


def test_a_count_gives_up_when_its_time_is_over(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision(), denial())
        with ledger.read() as connection, pytest.raises(DeadlineExceeded, match="narrow the filter"):
            count_records(Finder(None), connection, Search(AUDITOR), by=[], limit=1, deadline_s=-1.0)


def test_no_caller_allows_a_count_more_time_than_the_service_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.search.count.LONGEST_S", -1.0)
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
        for deadline_s in (None, 3600.0, float("inf")):
            with ledger.read() as connection, pytest.raises(DeadlineExceeded):
                count_records(
                    Finder(None), connection, Search(AUDITOR), by=[], limit=1, deadline_s=deadline_s
                )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM records WHERE idx = 1", "1 of the records 0 to 1"),
        ("UPDATE records SET leaf = x'7b' WHERE idx = 1", "record 1 cannot be read"),
        ("UPDATE records SET leaf = x'37' WHERE idx = 1", "record 1 cannot be read"),
    ],
)
def test_a_record_that_is_missing_makes_no_other_count_in_its_place(
    tmp_path: Path, damage: str, words: str
) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision(), decision(), denial())
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as file, file:
            file.execute(damage)
        with ledger.read() as connection, pytest.raises(LedgerDamaged, match=words):
            count_records(Finder(None), connection, Search(AUDITOR, "index = 1"), by=["decision"], limit=1)


def test_too_many_different_lines_are_refused_instead_of_filling_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.search.count.MOST", 3)
    with ledger_in(tmp_path) as ledger:
        append(ledger, *(decision(case_reference=f"案件-{number}") for number in range(4)))
        with ledger.read() as connection:
            with pytest.raises(InvalidArgument, match="narrow the filter"):
                count_records(Finder(None), connection, Search(AUDITOR), by=["case_reference"], limit=1)
            counts = count_records(
                Finder(None), connection, Search(AUDITOR, "index < 3"), by=["day"], limit=1
            )
    assert counts.total == 3


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with ledger_in(tmp_path) as one:
        append(one, decision(at={"in": START - timedelta(days=40)}), denial(emergency="急诊"))
        yield one


@pytest.mark.parametrize("by", BY)
def test_everything_that_can_be_counted_by_counts_every_record(ledger: Ledger, by: str) -> None:
    with ledger.read() as connection:
        counts = count_records(Finder(None), connection, Search(AUDITOR), by=[by], limit=9)
    assert sum(count for _, count in counts.lines) == counts.total == 2


def test_the_command_counts(world: AuditWorld) -> None:
    found = command(world, "index < 5", "--by", "consumer", "--by", "decision", "--reason", "年度抽查")
    assert found.exit_code == 0, found.output
    table = found.stdout.splitlines()
    assert table[0] == "CONSUMER\tDECISION\tRECORDS"
    assert "departments/education\tALLOW\t1" in table
    assert "5 records in all" in found.stderr
    assert command(world, "index < 5").stdout == "5\n"
    document = json.loads(command(world, "index < 5", "--by", "decision", "--limit", "1", "--json").stdout)
    assert document == {
        "counts": [{"values": ["ALLOW"], "count": "2"}],
        "total": "5",
        "truncated": True,
    }


def command(world: AuditWorld, *arguments: str) -> Result:
    """`isthmus audit count`, as the auditor would type it."""
    certificate, key = world.files(AUDITOR)
    options = [
        "--audit-address",
        f"127.0.0.1:{world.server.port}",
        "--cert",
        str(certificate),
        "--key",
        str(key),
    ]
    options += ["--ca", str(world.folder / "pki" / "ca.pem")]
    return CliRunner().invoke(app, [*options, "audit", "count", *arguments])
