"""A batch in the audit trail: found by each of its persons, proven for each alone, and never altered unnoticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from audit.batch.lines import LineError, join_lines, read_line, verify_line
from audit.batch.view import lines_about, proven_line
from audit.ledger.schema import batch_lines, record_subjects
from audit.reports.words import in_words
from audit.search.query import compile_filter, newest_first, of_department, of_subject
from audit.tlog.keys import SignerKey
from audit.tlog.merkle import hash_leaf
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from gateway.dryrun.past import read_past
from isthmus.cli.main import app
from tests.integration.batch_calls import (
    MODES,
    batch,
    lines_of,
    record_of,
    resident,
    stored,
    tokens_of,
)
from tests.integration.exchange_parties import PURPOSE
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


@pytest.fixture
def asked(world: World) -> int:
    """The position of a batch about five people, of whom the odd ones consented."""
    contract = world.agree(modes=MODES)
    for number in (1, 3):
        world.consent(contract, resident=resident(number), modes=("BATCH",))
    assert batch(world, [resident(number) for number in range(5)]).decisions() == "DADAD"
    return record_of(world)[0]


def token(world: World, number: int) -> str:
    return world.gateway._rules.tokens.token("cn.resident-id", resident(number))


def verified(world: World) -> None:
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)


def alter(world: World, statement: sa.Update | sa.Delete | sa.Insert) -> None:
    world.gateway.ledger.transact(lambda transaction: transaction.connection.execute(statement).close())


def set_lines(world: World, index: int, lines: list[bytes]) -> None:
    alter(world, batch_lines.update().where(batch_lines.c.idx == index).values(lines=join_lines(lines)))


def test_each_subject_can_be_proven_alone(world: World, asked: int) -> None:
    _, record = record_of(world)
    with world.gateway.ledger.read() as connection:
        for number in range(5):
            proven = proven_line(connection, asked, number)
            assert proven is not None
            line = verify_line(record, proven.text, proven.path)
            assert (line.index, line.token) == (number, token(world, number))
            assert line.decision == ("ALLOW" if number % 2 else "DENY")
    verified(world)


def test_a_line_says_on_which_consent_it_rests(world: World, asked: int) -> None:
    lines = lines_of(world, asked)
    assert [bool(line.consent) for line in lines] == [False, True, False, True, False]
    position = lines[1].consent["position"]
    assert isinstance(position, int) and position < asked
    assert lines[0].reasons == ("CONSENT_MISSING",)


def test_nobody_else_s_line_and_no_other_place_is_proven(world: World, asked: int) -> None:
    _, record = record_of(world)
    with world.gateway.ledger.read() as connection:
        one, other = proven_line(connection, asked, 1), proven_line(connection, asked, 3)
    assert one is not None and other is not None
    members = json.loads(one.text)
    for wrong in (
        one.text.replace(b'"rows":1', b'"rows":2'),
        one.text.replace(b'"index":1', b'"index":3'),
        one.text.replace(members["token"].encode(), token(world, 0).encode()),
        one.text + b" ",
        other.text,
    ):
        with pytest.raises(LineError):
            verify_line(record, wrong, one.path)
    with pytest.raises(LineError):
        verify_line(record, one.text, one.path[:-1])
    with pytest.raises(LineError):
        verify_line(world.decisions()[0], one.text, other.path)


def test_the_person_finds_the_batch_and_a_stranger_does_not(world: World, asked: int) -> None:
    with world.gateway.ledger.read() as connection:
        for number in range(5):
            found = newest_first(connection, [of_subject([token(world, number)])], before=None, limit=9)
            assert next(found).index == asked
            same = compile_filter(f'subject_token = "{token(world, number)}"')
            assert next(newest_first(connection, [same], before=None, limit=9)).index == asked
        assert not list(newest_first(connection, [of_subject([token(world, 9)])], before=None, limit=9))


def test_the_person_reads_what_came_of_them_and_not_of_the_others(world: World, asked: int) -> None:
    _, record = record_of(world)
    with world.gateway.ledger.read() as connection:
        given = in_words(record, lines_about(connection, asked, [token(world, 1)]))
        refused = in_words(record, lines_about(connection, asked, [token(world, 0)]))
    assert (
        "was given 姓名 (masked but for 1 character) and income" in given
        and "(1 row), among 5 persons" in given
    )
    assert (
        "was refused because there was no consent (未取得同意); nothing was released, among 5 persons"
        in refused
    )
    assert PURPOSE in given and "erased" in in_words(record)


def test_departments_see_their_own_batches_only(world: World, asked: int) -> None:
    with world.gateway.ledger.read() as connection:
        for department, sees in (("veterans", True), ("civil-registry", True), ("tax", False)):
            mine = [of_department(f"departments/{department}"), of_subject([token(world, 1)])]
            found = [each.index for each in newest_first(connection, mine, before=None, limit=9)]
            assert (asked in found) is sees


def test_a_line_may_be_erased_and_the_others_are_proven_as_before(world: World, asked: int) -> None:
    _, lines = stored(world, asked)
    set_lines(world, asked, [b"" if number == 1 else line for number, line in enumerate(lines)])
    verified(world)
    with world.gateway.ledger.read() as connection:
        assert proven_line(connection, asked, 1) is None
        other = proven_line(connection, asked, 3)
    assert other is not None and verify_line(record_of(world)[1], other.text, other.path).index == 3
    alter(world, record_subjects.delete().where(record_subjects.c.token == token(world, 1)))
    verified(world)
    alter(world, batch_lines.delete().where(batch_lines.c.idx == asked))
    verified(world)


@pytest.mark.parametrize(
    "what", ["decision", "consent", "moved", "added", "hash", "line and hash", "no part", "garbage"]
)
def test_an_altered_line_is_named(world: World, asked: int, what: str) -> None:
    hashes, lines = stored(world, asked)
    kind = DamageKind.DETAIL
    if what == "decision":
        lines[1] = lines[1].replace(b'"decision":"ALLOW"', b'"decision":"ERROR"')
    elif what == "consent":
        lines[1] = lines[1].replace(b"consents/", b"consentz/")
    elif what == "moved":
        lines[0], lines[2] = lines[2], lines[0]
    elif what == "added":
        lines.append(lines[0])
    elif what == "garbage":
        lines[0] = b"\xff"
    elif what == "line and hash":
        lines[1] = lines[1].replace(b'"rows":1', b'"rows":2')
        hashes = b"".join(map(hash_leaf, lines))
        alter(world, batch_lines.update().where(batch_lines.c.idx == asked).values(hashes=hashes))
    set_lines(world, asked, lines)
    here = batch_lines.update().where(batch_lines.c.idx == asked)
    if what == "hash":
        alter(world, here.values(hashes=bytes(32) + hashes[32:]))
    elif what == "no part":
        alter(world, here.values(part=1))
    with pytest.raises(Damaged) as found:
        verified(world)
    assert (found.value.kind, found.value.where) == (kind, f"record {asked}")


def test_who_is_hidden_from_the_search_or_added_to_it_is_noticed(world: World, asked: int) -> None:
    one = token(world, 3)
    alter(world, record_subjects.delete().where(record_subjects.c.token == one))
    with pytest.raises(Damaged) as found:
        verified(world)
    assert found.value.kind is DamageKind.SUBJECT
    alter(world, record_subjects.insert().values(token=one, idx=asked))
    verified(world)
    alter(world, record_subjects.insert().values(token=one, idx=asked - 1))
    with pytest.raises(Damaged):
        verified(world)


def test_lines_count_what_the_record_counts(world: World, asked: int) -> None:
    _, record = record_of(world)
    lines = lines_of(world, asked)
    assert record.row_count == sum(line.rows for line in lines) == 2
    assert tokens_of(world, asked) == sorted(line.token for line in lines)
    assert all(read_line(line).digest for line in stored(world, asked)[1] if b"ALLOW" in line)


def test_a_dry_run_of_the_past_takes_batches_as_they_are(world: World, asked: int) -> None:
    found = [past for _, batch in read_past(world.gateway.ledger.read) for past in batch]
    assert [(past.mode, past.decision, past.consented) for past in found] == [("BATCH", "ALLOW", True)]


def test_a_line_is_proven_from_a_file_with_the_log_s_key_alone(world: World, asked: int) -> None:
    _, record = record_of(world)
    key, database = world.gateway.ledger.verifier_key, world.config.ledger.url
    (world.folder / "vkey").write_text(key.encode())
    (world.folder / "other").write_text(SignerKey.generate("log.data.example/test").verifier.encode())
    proof, vkey = str(world.folder / "line.json"), ("--vkey", str(world.folder / "vkey"))

    def audit(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["audit", *arguments])

    made = audit("batch-line", database, record.exchange, "--index", "3", *vkey, "--out", proof)
    assert made.exit_code == 0 and token(world, 3) in made.output and "ALLOW" in made.output
    assert audit("batch-line", database, f"records/{asked}", "--index", "0", *vkey).exit_code == 0
    assert audit("check-line", proof, *vkey).exit_code == 0
    assert audit("check-line", proof, "--vkey", str(world.folder / "other")).exit_code == 1
    text = Path(proof).read_text()
    for old, new in (
        ("ALLOW", "ERROR"),
        ('\\"subject_count\\":5', '\\"subject_count\\":4'),
        (token(world, 3), token(world, 0)),
    ):
        Path(proof).write_text(text.replace(old, new))
        assert text.replace(old, new) != text and audit("check-line", proof, *vkey).exit_code == 1
    for name, index in (
        ("records/0", "0"),
        (record.exchange, "5"),
        ("records/x", "0"),
        ("exchanges/none", "0"),
    ):
        assert audit("batch-line", database, name, "--index", index, *vkey).exit_code == 1
