"""`isthmus audit report …`: what people, officials and programs get to read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli.main import app
from isthmus.identity import Identity
from tests.integration.audit_calls import TAXED
from tests.integration.audit_world import (
    AUDITOR,
    EDUCATION,
    PORTAL,
    RESIDENT,
    SCHEME,
    AuditWorld,
    audit_world_in,
    token,
)
from tests.unit.audit.ledger_world import append, decision, denial, failure

pytestmark = pytest.mark.integration
SUBJECT = f"{SCHEME}:{RESIDENT}"
CONTRACT = "contracts/edu-person-2026"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AuditWorld]:
    with audit_world_in(tmp_path) as world:
        person = {"subject_token": token(RESIDENT)}
        append(
            world.ledger,
            decision(**person),
            denial("CONSENT_WITHDRAWN", **person),
            decision(emergency="<b>心脏骤停</b> & more", **person),
            failure(**person),
        )
        yield world


def run(world: AuditWorld, who: Identity, *arguments: str, stdin: str | None = None) -> Result:
    """The command, as this party would type it."""
    certificate, key = world.files(who)
    options = [
        "--audit-address",
        f"127.0.0.1:{world.server.port}",
        "--ca",
        str(world.folder / "pki" / "ca.pem"),
    ]
    options += ["--cert", str(certificate), "--key", str(key), "audit", "report"]
    environment = {"ISTHMUS_CONFIG": str(world.folder / "none.toml")}
    return CliRunner().invoke(app, [*options, *arguments], input=stdin, env=environment)


def test_a_person_s_report_is_a_document_by_days_in_their_own_time(world: AuditWorld) -> None:
    run(world, AUDITOR, "subject", SUBJECT, "--reason", "投诉核查")
    result = run(
        world,
        PORTAL,
        "subject",
        f"{SCHEME}:-",
        "--reason",
        "本人查询",
        "--zone",
        "Asia/Shanghai",
        stdin=RESIDENT,
    )
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Who looked at this person's data") and "Asia/Shanghai (UTC+08:00)" in lines[1]
    assert [each.strip() for each in lines[2:7]] == [
        "1 × EMERGENCY ACCESS WITHOUT CONSENT (紧急调用)",
        "1 × data or an answer given (已提供)",
        "1 × refused (已拒绝)",
        "1 × failed, nothing given (未成功)",
        "1 × look-ups in this record itself (审计查询)",
    ]
    assert "Monday 2 November 2026" in lines
    first = next(line for line in lines if "was given full_name" in line)
    assert re.match(r"  16:00:\d\d  The system enrolment of departments/education was given", first)
    assert "[records/0]" in first and "UTC:" not in first and RESIDENT not in result.stdout
    assert "The auditor wang asked for the report" in result.stdout


def test_a_report_that_is_cut_off_says_so(world: AuditWorld) -> None:
    result = run(world, PORTAL, "subject", SUBJECT, "--reason", "x", "--limit", "2")
    assert "[records/1]" in result.stdout and "[records/2]" not in result.stdout
    assert result.stdout.rstrip().endswith("There is more: --limit brings it.")
    told = json.loads(
        run(world, PORTAL, "subject", SUBJECT, "--reason", "x", "--limit", "2", "--json").stdout
    )
    assert (len(told["accesses"]), told["truncated"]) == (2, True)


def test_nobody_looked_is_an_answer_too(world: AuditWorld) -> None:
    result = run(world, PORTAL, "subject", f"{SCHEME}:110101199003070074", "--reason", "x")
    assert "Nobody has." in result.stdout


class Shape(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_to_hand_over_needs_nothing_else_and_runs_nothing(world: AuditWorld, tmp_path: Path) -> None:
    path = tmp_path / "给本人.html"
    result = run(
        world,
        PORTAL,
        "subject",
        SUBJECT,
        "--reason",
        "本人查询",
        "--zone",
        "Asia/Shanghai",
        "--html",
        str(path),
    )
    assert (result.exit_code, result.stdout) == (0, "")
    page = Shape(path.read_text(encoding="utf-8"))
    assert page.addresses == [] and not {"script", "b", "img", "link"} & set(page.tags)
    assert page.tags.count("tr") == 1 + 4
    assert "<b>心脏骤停</b> & more" in page.text and "WITHOUT THE CONSENT" in page.text
    assert 'class="emergency"' in path.read_text(encoding="utf-8")


def test_a_contract_s_report_begins_with_its_counts(world: AuditWorld) -> None:
    result = run(world, EDUCATION, "contract", CONTRACT, "--reason", "季度核查")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split("\t") == ["DECISION", "PURPOSE", "MONTH", "EXCHANGES"]
    assert lines[1].split("\t") == ["ALLOW", "义务教育入学资格核验", "2026-11", "2"]
    assert sum(line.startswith("records/") for line in lines) == 4
    told = json.loads(
        run(world, EDUCATION, "contract", CONTRACT, "--reason", "x", "--json", "--limit", "3").stdout
    )
    assert (len(told["deeds"]), told["truncated"], len(told["counts"])) == (3, True, 3)


def test_a_contract_that_one_may_not_see_is_refused_in_words(world: AuditWorld) -> None:
    result = run(world, EDUCATION, "contract", "contracts/tax-visit", "--reason", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "contracts/tax-visit does not exist, or you may not see it" in result.stderr


def test_a_department_s_use_is_a_table(world: AuditWorld) -> None:
    arguments = ("department", "departments/education", "--reason", "年度统计", "--zone", "Asia/Shanghai")
    header, line = run(world, EDUCATION, *arguments, "--since", "2026-11-02").stdout.splitlines()
    found = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert (found["ALLOWED"], found["DENIED"], found["FAILED"]) == ("2", "1", "1")
    assert (found["ROWS"], found["PERSONS"]) == ("2", "1")
    assert found["FIRST"].startswith("2026-11-02 16:00")
    assert len(run(world, EDUCATION, *arguments, "--until", "2026-11-02").stdout.splitlines()) == 1


def test_anomalies_are_told_with_filters_and_notes(world: AuditWorld) -> None:
    append(world.ledger, *(denial("QUOTA_EXHAUSTED", **TAXED) for _ in range(120)))
    result = run(
        world, AUDITOR, "anomalies", "--reason", "周检", "--since", "2026-11-01", "--until", "2026-11-05"
    )
    assert result.exit_code == 0, result.stderr
    kinds = [line.split("\t")[0] for line in result.stdout.splitlines()[1:]]
    assert kinds == ["denial-burst", "many-subjects"]
    assert "note: the volume was not judged of contracts/tax-person" in result.stderr
    only = run(
        world,
        AUDITOR,
        "anomalies",
        "--reason",
        "x",
        "--since",
        "2026-11-01",
        "--kind",
        "many-subjects",
        "--json",
    )
    assert [each["kind"] for each in json.loads(only.stdout)["anomalies"]] == ["ANOMALY_KIND_MANY_SUBJECTS"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("anomalies", "--reason", "x", "--since", "gestern"), "give a day, 2026-11-01"),
        (("anomalies", "--reason", "x", "--until", "2026-11-01T08:00:00"), "a time with its zone"),
        (("anomalies", "--reason", "x", "--zone", "Mars/Base"), "there is no such zone"),
        (("anomalies", "--reason", "x", "--kind", "strange"), "strange"),
        (("subject", "11010119900307231X", "--reason", "x"), "SCHEME:ID"),
        (("anomalies",), "--reason"),
    ],
)
def test_a_wrong_command_line_is_told_before_anybody_is_asked(
    world: AuditWorld, arguments: tuple[str, ...], told: str
) -> None:
    result = run(world, AUDITOR, *arguments)
    assert result.exit_code == 2 and told in result.output.replace("\n", " ")
