"""Key epochs: an old one still opens after a rotation; destroyed, nothing links it, and every proof holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit.batch.proof import prove_from
from audit.keys import KeyFileError, load_subject_tokens
from audit.record import AccessRecord
from audit.retention.commitments import CommitmentClosed, opens
from isthmus.cli.main import app
from isthmus.subjects import SubjectTokens
from tests.integration.retention_world import (
    ANSWER,
    KEYS,
    REQUEST,
    RESIDENT,
    SCHEME,
    RetentionWorld,
    erase,
    token,
)
from tests.unit.audit.ledger_world import KEY

pytestmark = pytest.mark.integration

ARTICLE = "第二十九条"


@pytest.fixture
def world(tmp_path: Path) -> RetentionWorld:
    return RetentionWorld(tmp_path)


def _opened(world: RetentionWorld, index: int, tokens: SubjectTokens) -> bool:
    ((leaf,),) = world.rows(f"SELECT leaf FROM records WHERE idx = {index}")
    ((detail,),) = world.rows(f"SELECT json FROM details WHERE idx = {index}")
    record, held = AccessRecord.parse(leaf), json.loads(detail)
    assert not opens(record, "request", b"other", detail=held, tokens=tokens)
    return all(
        opens(record, part, content, detail=held, tokens=tokens)
        for part, content in (("request", REQUEST), ("response", ANSWER))
    )


def test_commitments_of_an_old_epoch_open_after_the_rotation_with_its_key(world: RetentionWorld) -> None:
    rotated = SubjectTokens(KEYS, 2)
    assert _opened(world, 2, rotated) and _opened(world, world.young, rotated)


def test_a_destroyed_epoch_can_be_neither_linked_nor_opened_and_all_proofs_hold(
    world: RetentionWorld,
) -> None:
    path, key = world.folder / "subject-1.key", KEYS[1].hex().encode()
    result = world.run("destroy-epoch", "1", "--reason", "期满", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["records"] == 4
    assert key not in path.read_bytes() and path.read_bytes().startswith(b"destroyed: ")
    tokens = load_subject_tokens({"1": path, "2": world.folder / "subject-2.key"}, 2)
    assert (
        tokens
        == SubjectTokens({2: KEYS[2]}, 2)
        == load_subject_tokens({"2": world.folder / "subject-2.key"}, 2)
    )
    assert tokens.all_tokens(SCHEME, RESIDENT) == (token(RESIDENT, 2),)
    with pytest.raises(CommitmentClosed, match="epoch 1 was destroyed"):
        _opened(world, 2, tokens)
    assert _opened(world, world.young, tokens)
    world.verified()
    prove_from(str(world.folder / "ledger.db"), f"records/{world.old_batch}", 0).check(KEY.verifier)
    told = erase(world)
    assert (told["details"], told["lines"], told["kept"]) == (0, 0, 2)


def test_destroying_an_epoch_again_ends_what_a_crash_left_and_adds_no_record(world: RetentionWorld) -> None:
    path = world.folder / "subject-1.key"
    assert world.run("destroy-epoch", "1", "--reason", "x").exit_code == 0
    path.write_text(KEYS[1].hex())
    assert world.run("destroy-epoch", "1", "--reason", "x").exit_code == 0
    assert path.read_text().startswith("destroyed: ")
    assert len(world.records("DestroySubjectKey")) == 1


def test_an_epoch_with_young_records_or_the_current_one_is_not_destroyed(world: RetentionWorld) -> None:
    result = world.run("destroy-epoch", "2", "--reason", "x")
    assert result.exit_code == 1 and "is the current one" in result.stderr
    config = world.folder / "audit.toml"
    config.write_text(
        config.read_text(encoding="utf-8").replace("current = 2", "current = 1"), encoding="utf-8"
    )
    result = world.run("destroy-epoch", "2", "--reason", "x")
    assert result.exit_code == 1 and ARTICLE in result.stderr
    assert load_subject_tokens({"2": world.folder / "subject-2.key"}, 2).keys == {2: KEYS[2]}


def test_the_current_epoch_cannot_be_one_whose_key_was_destroyed(world: RetentionWorld) -> None:
    (world.folder / "subject-2.key").write_text("destroyed: the log says when and why\n")
    with pytest.raises(KeyFileError, match="no subject key for the current epoch 2"):
        load_subject_tokens({"2": world.folder / "subject-2.key"}, 2)


def test_a_new_epochs_key_is_made_once_and_for_its_owner(world: RetentionWorld) -> None:
    making = ["audit", "new-epoch", "3", "--dir", str(world.folder)]
    assert CliRunner().invoke(app, making).exit_code == 0
    path = world.folder / "subject-3.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_subject_tokens({"3": path}, 3).current == 3
    assert CliRunner().invoke(app, making).exit_code == 1
