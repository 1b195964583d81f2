"""What an entry must state under each rule pack, and the one source of a data element."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.ledger.schema import records
from gateway.rulebook import Rulebook
from gateway.state.change import Control
from gateway.state.schema import element_sources
from gateway.state.sources import SourceRow, replace_sources
from isthmus.errors import InvalidArgument, IsthmusError, Reason
from isthmus.v1 import catalog_service_pb2 as pb
from isthmus.v1.common_pb2 import FieldType, SharingClass
from tests.integration.control_world import OUTSIDER, PERSON, PROVIDER, World, person, world_in

pytestmark = pytest.mark.integration

REFUSED = {
    "sharing_class": SharingClass.SHARING_CLASS_REFUSED,
    "conditions": [],
    "purposes": [],
    "modes": [],
    "legal_citation": "《档案法》第二十七条",
    "refusal_reason": "尚未解密",
}
TAXPAYER = "departments/tax/datasets/taxpayer"
ELEMENT = "DE00043"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


@pytest.fixture
def china(world: World) -> World:
    """The world under 《政务数据共享条例》."""
    world.control = Control(world.ledger, clock=world.clock, rulebook=Rulebook.load("china-809"))
    return world


def violations(world: World, **changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as refusal:
        world.publish(**changes)
    assert not world.records()
    return {each.field: each.description for each in refusal.value.violations}


@pytest.mark.parametrize("member", ["format", "update_frequency", "grade"])
def test_the_regulation_wants_every_content_of_article_13(china: World, member: str) -> None:
    found = violations(china, **{member: " "})
    assert found.keys() == {f"dataset.{member}"}
    assert (
        "第十三条第二款" in found[f"dataset.{member}"]
        and "china-809@2025-08-01" in found[f"dataset.{member}"]
    )


def test_a_complete_entry_is_published_under_the_regulation(china: World) -> None:
    assert china.publish().revision == 1


def test_the_regulation_wants_conditions_and_purposes_of_conditional_data(china: World) -> None:
    found = violations(china, conditions=[], purposes=[])
    assert found.keys() == {"dataset.conditions", "dataset.purposes"}
    assert all("第十五条第二款" in words for words in found.values())


def test_without_a_pack_that_says_so_purposes_and_grades_may_be_left_open(world: World) -> None:
    assert world.publish(purposes=[], grade="", format="", update_frequency="").revision == 1


def test_the_regulation_wants_the_reason_and_the_law_of_a_refusal(china: World) -> None:
    found = violations(china, **{**REFUSED, "legal_citation": "", "refusal_reason": " "})
    assert found.keys() == {"dataset.legal_citation", "dataset.refusal_reason"}
    assert all("第十四条第三项" in words for words in found.values())
    published = china.publish(**REFUSED)
    assert published.refusal_reason == "尚未解密" and china.publish(**REFUSED) == published


@pytest.mark.parametrize("member", ["conditions", "purposes"])
def test_what_is_not_shared_has_no_conditions_of_sharing(world: World, member: str) -> None:
    assert violations(world, **{**REFUSED, member: ["x"]}).keys() == {f"dataset.{member}"}


def test_what_is_shared_has_no_reason_of_refusal(world: World) -> None:
    assert violations(world, refusal_reason="x").keys() == {"dataset.refusal_reason"}


def test_a_local_pack_that_wants_what_no_entry_can_state_refuses_and_says_so(
    world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "local.toml").write_text(
        'name = "local"\neffective = 2001-01-01\ntitle_en = "Local"\ntitle_zh = "本地"\nsource = "s"\n'
        'calendar = "weekdays"\nzone = "UTC"\n[supplement]\nclock = "pauses"\nnotices = 1\narticle = "a"\n'
        '[forms.catalogue_entry]\nfields = ["title", "seal"]\narticle = "地方办法第九条"\ntitle_en = "t"\ntitle_zh = "t"\n',
        encoding="utf-8",
    )
    world.control = Control(world.ledger, clock=world.clock, rulebook=Rulebook.load("local", folder=folder))
    found = violations(world)
    assert "地方办法第九条" in found["dataset.seal"] and "no place for it" in found["dataset.seal"]


# ---- One source for each data element


def field(name: str = "phone", **members: Any) -> pb.DatasetField:
    stated = {"element": ELEMENT, "source": True, **members}
    return pb.DatasetField(name=name, type=FieldType.FIELD_TYPE_STRING, **stated)


def publish(world: World, name: str = PERSON, **members: Any) -> pb.Dataset:
    by = PROVIDER if name.startswith("departments/civil-registry/") else OUTSIDER
    request = pb.PublishDatasetRequest(dataset=person(name=name, fields=[field(**members)]))
    published: pb.Dataset = world.rpc(by, "PublishDataset", request).dataset
    return published


def retire(world: World, name: str = PERSON) -> None:
    world.rpc(PROVIDER, "RetireDataset", pb.RetireDatasetRequest(name=name, reason="x"))


def refused(world: World, name: str, **members: Any) -> IsthmusError:
    with pytest.raises(IsthmusError) as refusal:
        publish(world, name, **members)
    assert refusal.value.reason is Reason.ELEMENT_HAS_SOURCE, refusal.value.message
    return refusal.value


def test_a_second_source_of_an_element_is_refused_by_the_name_of_the_first(world: World) -> None:
    published = publish(world)
    assert published.fields[0].source
    assert world.records()[-1].change["element_sources"] == 1
    error = refused(world, TAXPAYER)
    assert PERSON in error.message and ELEMENT in error.message and "second_source_reason" in error.message
    assert len(world.records()) == 1


def test_the_refusal_cites_the_article_where_the_pack_has_one(china: World) -> None:
    publish(china)
    assert "第十九条第二款" in refused(china, TAXPAYER).message


def test_a_second_source_that_says_why_is_recorded(world: World) -> None:
    publish(world)
    second = publish(world, TAXPAYER, second_source_reason="税务登记时另行核实")
    assert second.fields[0].second_source_reason == "税务登记时另行核实"
    assert world.records()[-1].change["second_element_sources"] == 1
    assert publish(world, name=PERSON, title="手机号码").revision == 2, "the first source stays it"


def test_the_same_element_without_a_claim_is_nobody_s_business(world: World) -> None:
    publish(world)
    assert publish(world, TAXPAYER, source=False).revision == 1


def test_retiring_a_dataset_frees_its_elements_until_it_comes_back(world: World) -> None:
    publish(world)
    retire(world)
    publish(world, TAXPAYER)
    assert TAXPAYER in refused(world, PERSON).message


def test_giving_up_the_claim_frees_the_element(world: World) -> None:
    publish(world)
    publish(world, source=False)
    assert publish(world, TAXPAYER).revision == 1


def test_when_the_first_source_goes_the_second_is_still_one(world: World) -> None:
    publish(world)
    publish(world, TAXPAYER, second_source_reason="x")
    retire(world)
    assert TAXPAYER in refused(world, PERSON).message
    assert publish(world, TAXPAYER).revision == 2, "now it may be the first"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ([field(element="")], "dataset.fields[0].element"),
        ([field("a"), field("b")], "dataset.fields[1].source"),
        ([field(source=False, second_source_reason="x")], "dataset.fields[0].second_source_reason"),
        ([field(second_source_reason=" ")], "dataset.fields[0].second_source_reason"),
    ],
)
def test_a_claim_that_makes_no_sense_is_named(world: World, fields: list[pb.DatasetField], path: str) -> None:
    assert violations(world, fields=fields).keys() == {path}


def test_of_publishers_at_the_same_time_one_becomes_the_source(world: World) -> None:
    names = [f"departments/civil-registry/datasets/d{number}" for number in range(6)]
    world.rpc(PROVIDER, "ListDatasets", pb.ListDatasetsRequest())
    start, outcomes = threading.Barrier(len(names)), dict[str, object]()

    def attempt(name: str) -> None:
        start.wait()
        try:
            outcomes[name] = publish(world, name).revision
        except IsthmusError as error:
            outcomes[name] = error.reason

    threads = [threading.Thread(target=attempt, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes.values())) == sorted(["1"] + [str(Reason.ELEMENT_HAS_SOURCE)] * 5)
    assert len(world.records()) == 1


def test_the_database_itself_refuses_a_second_first_source(world: World) -> None:
    """Whatever a process does that does not look first."""

    def claim(name: str) -> Any:
        row = SourceRow(element=ELEMENT, dataset=name, field="phone", second_reason="")
        return lambda tx: replace_sources(tx.connection, name, [row], position=0)

    world.ledger.transact(claim(PERSON))
    with pytest.raises(sa.exc.IntegrityError):
        world.ledger.transact(claim(TAXPAYER))
    with world.ledger.read() as connection:
        assert connection.execute(sa.select(element_sources.c.dataset)).scalars().all() == [PERSON]
        assert connection.scalar(sa.select(sa.func.count()).select_from(records)) == 0
