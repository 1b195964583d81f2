"""Bundles about one person of a batch, and about a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.evidence.archive import unpack
from audit.evidence.verify import verify_bundle
from audit.record import Kind
from audit.verifier.damage import Damaged, DamageKind
from isthmus.canonical import canonical_json, parse_canonical
from tests.integration.batch_calls import MODES, batch, record_of, resident
from tests.integration.evidence_world import SCHEME, EvidenceWorld, evidence_world_in, manifest_of, repacked
from tests.integration.stream_nodes import ScriptedNode
from tests.integration.stream_world import Call, agree, all_records, request

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EvidenceWorld]:
    with evidence_world_in(tmp_path) as world:
        yield world


@pytest.fixture
def person(world: EvidenceWorld) -> bytes:
    """The bundle about the second of five persons of a batch."""
    contract = world.exchanges.agree(modes=MODES)
    for number in (1, 3):
        world.exchanges.consent(contract, resident=resident(number), modes=("BATCH",))
    assert batch(world.exchanges, [resident(number) for number in range(5)]).decisions() == "DADAD"
    return world.bundle("kind = DECISION", subject=(SCHEME, resident(1)))


def test_a_bundle_about_a_person_of_a_batch_holds_their_line_and_nobody_elses(
    world: EvidenceWorld, person: bytes, tmp_path: Path
) -> None:
    files, (index, record) = unpack(person), record_of(world.exchanges)
    assert manifest_of(person).case == (index,)
    (name,) = (each for each in files if each.startswith("lines/"))
    assert name == f"lines/{index}-1.json"
    granted = [each for each in all_records(world.exchanges) if each.action == "GrantConsent"]
    rests_on = [files[f"records/{at}.json"] for at in manifest_of(person).rests_on]
    assert sum(granted[0].resource.encode() in leaf for leaf in rests_on) == 1
    assert sum(granted[1].resource.encode() in leaf for leaf in rests_on) == 0
    (tmp_path / "case.zip").write_bytes(person)
    assert verify_bundle(tmp_path / "case.zip", world.key).case == (index,)
    assert record.subjects_root


def test_a_line_that_its_record_does_not_vouch_for_is_named(
    world: EvidenceWorld, person: bytes, tmp_path: Path
) -> None:
    files = unpack(person)
    (name,) = (each for each in files if each.startswith("lines/"))
    found = parse_canonical(files[name])
    line = found["line"].replace('"rows":1', '"rows":0')
    for altered in ({**found, "line": line}, {**found, "path": found["path"][1:]}, {"line": found["line"]}):
        (tmp_path / "case.zip").write_bytes(repacked(person, **{name: canonical_json(altered)}))
        with pytest.raises(Damaged) as caught:
            verify_bundle(tmp_path / "case.zip", world.key)
        assert (caught.value.where, caught.value.kind) == (name, DamageKind.DETAIL)


def test_the_end_of_a_stream_brings_its_opening_and_the_signatures_it_rests_on(
    world: EvidenceWorld, tmp_path: Path
) -> None:
    agree(world.exchanges)
    with ScriptedNode(world.exchanges).serving():
        list(Call(world.exchanges, request()))
    data = world.bundle("kind = STREAM_END")
    records = all_records(world.exchanges)
    rests_on = [records[at] for at in manifest_of(data).rests_on]
    assert [each.decision for each in rests_on if each.kind is Kind.DECISION] == ["ALLOW"]
    assert sum(each.action == "SignContract" for each in rests_on) == 2
    (tmp_path / "case.zip").write_bytes(data)
    assert verify_bundle(tmp_path / "case.zip", world.key).statements == 2
