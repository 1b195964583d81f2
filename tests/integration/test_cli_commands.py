"""The command line against a real gateway, ledger and node: a contract's whole life, typed by its parties."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli.main import app
from isthmus.client import Client
from isthmus.identity import Identity
from isthmus.pki import file_stem
from isthmus.terms import rfc3339
from tests.integration.exchange_parties import (
    CONSUMER,
    NODE,
    PERSON,
    PORTAL,
    PROVIDER,
    PURPOSE,
    RESIDENT,
    SYSTEM,
    now,
)
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration

CONTRACT = "contracts/person-2026"
VERSION = f"{CONTRACT}@1"
ABOUT = ("--subject", f"cn.resident-id:{RESIDENT}")
ASKED = (
    "query",
    "--contract",
    CONTRACT,
    "--purpose",
    PURPOSE,
    *ABOUT,
    "--field",
    "姓名",
    "--field",
    "income",
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


@pytest.fixture
def terms(tmp_path: Path) -> Path:
    start = now() - timedelta(seconds=1)
    path = tmp_path / "terms.toml"
    path.write_text(
        f"""
provider = "departments/civil-registry"
consumer = "departments/veterans"
systems = ["{SYSTEM.resource}"]
dataset = "{PERSON}"
purposes = ["{PURPOSE}"]
legal_basis = "CONSENT"
legal_citation = "《个人信息保护法》第十三条第一款第一项"
modes = ["QUERY", "VERIFY"]
not_before = "{rfc3339(start)}"
not_after = "{rfc3339(start + timedelta(days=100))}"
retention_days = 30
[[fields]]
name = "姓名"
transform = "mask:1"
[[fields]]
name = "income"
""",
        encoding="utf-8",
    )
    return path


def typed(world: World, identity: Identity, *arguments: str, stdin: str = "", port: int = 0) -> Result:
    """What `identity` types after `isthmus`."""
    world.credentials(identity)
    pki, stem = world.folder / "pki", file_stem(identity)
    options = ["--address", f"127.0.0.1:{port or world.gateway.port}", "--cert", str(pki / f"{stem}.pem")]
    options += ["--key", str(pki / f"{stem}.key"), "--ca", str(pki / "ca.pem"), "--deadline", "30"]
    environ = {"ISTHMUS_CONFIG": str(world.folder / "none.toml")}
    return CliRunner().invoke(app, [*options, *arguments], input=stdin, env=environ)


def done(world: World, identity: Identity, *arguments: str, stdin: str = "") -> Any:
    """The one JSON document that a command printed, and nothing else."""
    result = typed(world, identity, *arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def agreed(world: World, terms: Path) -> None:
    done(world, CONSUMER, "contract", "propose", "person-2026", str(terms), "--reason", "核验")
    digest = done(world, PROVIDER, "contract", "show", VERSION)["terms_digest"]
    for officer in (CONSUMER, PROVIDER):
        done(world, officer, "contract", "sign", VERSION, "--digest", digest)


def granted(world: World, tmp_path: Path) -> str:
    notice = tmp_path / "notice.txt"
    notice.write_text("为核验优抚对象资格……", encoding="utf-8")
    arguments = ("consent", "grant", VERSION, "--subject", "cn.resident-id:-", "--notice", str(notice))
    name: str = done(world, PORTAL, *arguments, stdin=RESIDENT + "\n")["consent"]["name"]
    return name


def test_a_contract_lives_from_proposal_to_termination(world: World, terms: Path, tmp_path: Path) -> None:
    agreed(world, terms)
    consent = granted(world, tmp_path)

    answer = done(world, SYSTEM, *ASKED, "--check-receipt")
    assert answer["subject_known"] is True
    assert answer["rows"][0]["income"] == 5200
    assert answer["rows"][0]["姓名"].endswith("明")
    assert answer["receipt_signer"] == NODE.resource

    asked = ("--contract", CONTRACT, "--purpose", PURPOSE, *ABOUT)
    assert (
        done(world, SYSTEM, "verify", *asked, "--where", "income>=5000", "--check-receipt")["verdict"]
        == "YES"
    )
    assert done(world, SYSTEM, "verify", *asked, "--where", "income < 5000")["verdict"] == "NO"
    explained = done(world, SYSTEM, "explain", *asked, "--field", "income")
    assert (explained["decision"], explained["consent"]) == ("DECISION_ALLOW", consent)

    withdrawn = done(world, PORTAL, "consent", "withdraw", consent)
    assert withdrawn["consent"]["state"] == "CONSENT_STATE_WITHDRAWN"
    assert withdrawn["receipt"].count(".") == 2
    refused = typed(world, SYSTEM, *ASKED)
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "CONSENT_WITHDRAWN" in refused.stderr
    assert "exchanges/" in refused.stderr
    assert RESIDENT not in refused.stderr

    ended = done(world, PROVIDER, "contract", "terminate", VERSION, "--reason", "不再需要")
    assert ended["state"] == "CONTRACT_STATE_TERMINATED"
    events = [each["type"] for each in done(world, CONSUMER, "contract", "events", CONTRACT)["events"]]
    assert events[0] == "PROPOSED" and "TERMINATED" in events[-1]


def test_a_denial_explains_itself_before_anybody_is_asked(world: World, terms: Path) -> None:
    agreed(world, terms)
    asked = ("--contract", CONTRACT, "--purpose", "闲逛", *ABOUT, "--field", "income")
    result = typed(world, SYSTEM, "explain", *asked)
    assert result.exit_code == 3
    assert "DENY" in result.stdout
    assert "PURPOSE_NOT_ALLOWED" in result.stdout and "CONSENT_MISSING" in result.stdout
    assert "remedy" in result.stdout
    assert world.decisions() == []


def test_suspension_and_pause_end_at_the_command_line_too(world: World, terms: Path, tmp_path: Path) -> None:
    agreed(world, terms)
    consent = granted(world, tmp_path)
    done(world, PROVIDER, "contract", "suspend", VERSION, "--reason", "核查")
    assert "CONTRACT_SUSPENDED" in typed(world, SYSTEM, *ASKED).stderr
    done(world, PROVIDER, "contract", "resume", VERSION, "--reason", "已核查")
    done(world, PORTAL, "consent", "pause", consent)
    assert "CONSENT_PAUSED" in typed(world, SYSTEM, *ASKED).stderr
    done(world, PORTAL, "consent", "resume", consent)
    assert typed(world, SYSTEM, *ASKED).exit_code == 0


def test_lists_are_tab_separated_for_other_programs(world: World, terms: Path, tmp_path: Path) -> None:
    agreed(world, terms)
    consent = granted(world, tmp_path)
    datasets = typed(world, SYSTEM, "catalog", "list").stdout.splitlines()
    assert datasets[0].split("\t")[0] == "name"
    assert datasets[1].split("\t")[:2] == [PERSON, "人口基础信息"]
    contracts = typed(world, CONSUMER, "contract", "list", "--state", "ACTIVE").stdout.splitlines()
    assert contracts[1].split("\t")[:2] == [VERSION, "ACTIVE"]
    consents = typed(world, PORTAL, "consent", "list", *ABOUT).stdout.splitlines()
    assert consents[1].split("\t")[:2] == [consent, "ACTIVE"]
    rows = typed(world, SYSTEM, *ASKED)
    assert rows.stdout.splitlines()[0] == "姓名\tincome"
    assert rows.stderr.startswith("exchanges/")


def test_people_read_facts_where_programs_read_json(world: World, terms: Path) -> None:
    agreed(world, terms)
    shown = typed(world, PROVIDER, "contract", "show", CONTRACT).stdout
    assert "姓名 (mask:1)" in shown and "Law and article (法律条文): 《个人信息保护法》" in shown
    assert "Sharing class (共享属性): 有条件共享" in shown
    assert f"signed by {CONSUMER.uri}" in shown
    signed_text = typed(world, PROVIDER, "contract", "show", VERSION, "--terms").stdout
    assert json.loads(signed_text)["purposes"] == [PURPOSE]
    assert "人口基础信息" in typed(world, SYSTEM, "catalog", "show", PERSON).stdout


def test_a_counter_proposal_is_compared_with_what_was_asked_for(
    world: World, terms: Path, tmp_path: Path
) -> None:
    done(world, CONSUMER, "contract", "propose", "person-2026", str(terms))
    narrower = tmp_path / "narrower.toml"
    narrower.write_text(terms.read_text(encoding="utf-8").replace('"QUERY", ', ""), encoding="utf-8")
    done(world, PROVIDER, "contract", "counter", VERSION, str(narrower), "--reason", "核验即可")
    second = f"{CONTRACT}@2"
    found = done(world, CONSUMER, "contract", "diff", VERSION, second)
    assert (found["verdict"], found["a"]["state"], found["b"]["state"]) == (
        "NARROWER",
        "COUNTERED",
        "PROPOSED",
    )
    assert [(each["term"], each["a"], each["b"]) for each in found["changes"]] == [("modes", "QUERY", None)]
    lines = typed(world, CONSUMER, "contract", "diff", VERSION, second).stdout.splitlines()
    assert lines[:2] == [f"A: {VERSION} COUNTERED", f"B: {second} PROPOSED"]
    assert lines[-1].split("\t")[0] == "Modes of use (共享方式)"
    assert lines[-1].endswith("narrower (更窄)")
    same = typed(world, CONSUMER, "contract", "diff", second, CONTRACT)
    assert same.exit_code == 0
    assert "The terms are equal" in same.stdout
    assert typed(world, CONSUMER, "contract", "diff", VERSION, f"{CONTRACT}@9").exit_code == 1


def test_the_deadline_of_an_answer_is_seen_in_the_list_and_on_the_contract(world: World, terms: Path) -> None:
    proposed = done(world, CONSUMER, "contract", "propose", "person-2026", str(terms))
    (answer,) = proposed["deadlines"]
    listed = typed(world, PROVIDER, "contract", "list").stdout.splitlines()
    assert listed[0].split("\t")[-3:] == ["deadline", "due", "overdue"]
    assert listed[1].split("\t")[-3:] == ["ANSWER", answer["due"].replace("Z", ".000Z"), ""]
    shown = typed(world, PROVIDER, "contract", "show", VERSION).stdout
    assert "Answer due (答复期限):" in shown
    assert answer["rule"] in shown
    assert proposed["rule_pack"] in shown


def test_a_manifest_is_published_whole_or_by_dataset(world: World) -> None:
    manifest = str(world.folder / "department.toml")
    published = done(world, PROVIDER, "catalog", "publish", "--manifest", manifest, "--dataset", "person")
    assert [each["name"] for each in published["datasets"]] == [PERSON]
    unknown = typed(world, PROVIDER, "catalog", "publish", "--manifest", manifest, "--dataset", "nobody")
    assert unknown.exit_code == 2
    retired = done(world, PROVIDER, "catalog", "retire", PERSON, "--reason", "停用")
    assert retired["retired"] is True


def test_who_may_not_is_denied_and_who_is_lost_is_told(world: World, terms: Path) -> None:
    proposal = typed(world, SYSTEM, "contract", "propose", "person-2026", str(terms))
    assert proposal.exit_code == 3
    assert "ROLE_NOT_ALLOWED" in proposal.stderr
    missing = typed(world, CONSUMER, "contract", "show", "contracts/nothing")
    assert missing.exit_code == 1
    assert "NOT_FOUND" in missing.stderr
    file = typed(world, CONSUMER, "contract", "propose", "x", str(world.folder / "none.toml"))
    assert file.exit_code == 1
    assert "none.toml: cannot be read" in file.stderr
    for result in (proposal, missing, file):
        assert "Traceback" not in result.stderr


def test_signing_without_anybody_to_ask_needs_a_digest_or_a_yes(world: World, terms: Path) -> None:
    done(world, CONSUMER, "contract", "propose", "person-2026", str(terms))
    assert typed(world, PROVIDER, "contract", "sign", VERSION).exit_code == 2
    wrong = typed(world, PROVIDER, "contract", "sign", VERSION, "--digest", "0" * 64)
    assert wrong.exit_code == 1
    assert "not the one examined" in wrong.stderr
    assert done(world, PROVIDER, "contract", "sign", VERSION, "--yes")["state"] == "CONTRACT_STATE_PROPOSED"


def test_a_gateway_that_is_away_is_exit_code_4(world: World) -> None:
    port = world.gateway.port
    world.stop_gateway()
    result = typed(world, SYSTEM, *ASKED, port=port)
    assert result.exit_code == 4
    assert result.stderr.startswith("unavailable: ")


def test_the_first_working_query_takes_ten_lines(world: World) -> None:
    contract = world.agree()
    world.consent(contract)
    pki, stem = world.folder / "pki", file_stem(SYSTEM)
    world.credentials(SYSTEM)
    with Client(
        f"127.0.0.1:{world.gateway.port}",
        cert=pki / f"{stem}.pem",
        key=pki / f"{stem}.key",
        ca=pki / "ca.pem",
    ) as client:
        answer = client.query(
            contract=CONTRACT, purpose=PURPOSE, subject=("cn.resident-id", RESIDENT), fields=["income"]
        )
    assert answer.rows == [{"income": 5200}]
    assert client.verify_receipt(answer, provider="departments/civil-registry").node == NODE


def test_an_emergency_is_asked_for_listed_and_reviewed(world: World, terms: Path) -> None:
    glass = f'\n[break_glass]\nallowed = true\nsystems = ["{SYSTEM.resource}"]\nreview_within_hours = 24\n'
    terms.write_text(terms.read_text(encoding="utf-8") + glass, encoding="utf-8")
    agreed(world, terms)
    assert typed(world, SYSTEM, *ASKED).exit_code == 3
    exchange = done(world, SYSTEM, *ASKED, "--emergency", "昏迷急救")["exchange"]
    (use,) = done(world, PROVIDER, "emergency", "list", "--unreviewed", "--contract", CONTRACT)["uses"]
    assert (use["exchange"], use["justification"]) == (exchange, "昏迷急救")
    plain = typed(world, PROVIDER, "emergency", "list")
    assert plain.stdout.splitlines()[1].split("\t")[-1] == "awaited"
    review = ("emergency", "review", exchange, "--unjustified", "--finding", "无急诊记录")
    assert typed(world, CONSUMER, *review).exit_code != 0
    assert done(world, PROVIDER, *review)["reviewer"] == PROVIDER.uri
    assert "not justified" in typed(world, PROVIDER, "emergency", "list").stdout
