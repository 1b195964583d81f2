"""The catalogue: who may publish what, and what every participant reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import EtagMismatch, InvalidArgument, NotFound, PermissionDenied, Reason, StateConflict
from isthmus.v1 import catalog_service_pb2 as pb
from isthmus.v1.common_pb2 import FieldType, Mode, Sensitivity, SharingClass
from tests.integration.control_world import (
    AUDITOR,
    CONSUMER,
    NODE,
    OPERATOR,
    OUTSIDER,
    PERSON,
    PORTAL,
    PROVIDER,
    PURPOSE,
    SYSTEM,
    World,
    person,
    world_in,
)

pytestmark = pytest.mark.integration

C = SharingClass


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


def get(world: World, name: str = PERSON) -> pb.Dataset:
    found: pb.Dataset = world.rpc(SYSTEM, "GetDataset", pb.GetDatasetRequest(name=name)).dataset
    return found


def test_every_participant_reads_what_a_department_published(world: World) -> None:
    published = world.publish()
    assert (published.revision, published.retired) == (1, False)
    assert published.title == "人口基础信息" and published.update_frequency == "每日"
    for reader in (CONSUMER, OUTSIDER, SYSTEM, NODE, PORTAL, AUDITOR, OPERATOR):
        assert world.rpc(reader, "GetDataset", pb.GetDatasetRequest(name=PERSON)).dataset == published


def test_the_record_names_the_entry_and_its_digest(world: World) -> None:
    published = world.publish()
    record = world.records()[published.position]
    assert (record.action, record.resource, record.dataset) == ("PublishDataset", PERSON, PERSON)
    assert record.provider == "departments/civil-registry" and record.change["revision"] == 1
    assert len(record.change["entry_digest"]) == 64


def test_a_node_publishes_for_its_department(world: World) -> None:
    response = world.rpc(NODE, "PublishDataset", pb.PublishDatasetRequest(dataset=person()))
    assert response.dataset.revision == 1


def test_nobody_publishes_or_retires_for_another_department(world: World) -> None:
    world.publish()
    retire = pb.RetireDatasetRequest(name=PERSON, reason="x")
    for method, request in (
        ("PublishDataset", pb.PublishDatasetRequest(dataset=person())),
        ("RetireDataset", retire),
    ):
        with pytest.raises(PermissionDenied) as refusal:
            world.rpc(OUTSIDER, method, request)
        assert refusal.value.reason is Reason.NOT_A_PARTY
        assert world.records()[-1].reasons == ("NOT_A_PARTY",)
    for caller in (SYSTEM, PORTAL, AUDITOR, OPERATOR):
        with pytest.raises(PermissionDenied) as refusal:
            world.rpc(caller, "RetireDataset", retire)
        assert refusal.value.reason is Reason.ROLE_NOT_ALLOWED
    assert not get(world).retired


def test_a_field_nobody_graded_is_handled_as_sensitive(world: World) -> None:
    fields = {each.name: each.sensitivity for each in world.publish().fields}
    assert fields["姓名"] == Sensitivity.SENSITIVITY_PERSONAL
    assert fields["city"] == Sensitivity.SENSITIVITY_SENSITIVE


def violations(world: World, **changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as refusal:
        world.publish(**changes)
    assert not world.records()
    return {each.field: each.description for each in refusal.value.violations}


def test_a_refused_dataset_names_the_law(world: World) -> None:
    refused = {"sharing_class": C.SHARING_CLASS_REFUSED, "conditions": [], "purposes": []}
    found = violations(world, **refused, legal_citation=" ")
    assert found.keys() == {"dataset.legal_citation"}
    assert "State Council" in found["dataset.legal_citation"]
    assert world.publish(**refused, legal_citation="《档案法》第二十七条", modes=[]).revision == 1


def test_a_conditional_dataset_states_its_conditions(world: World) -> None:
    assert violations(world, conditions=[]).keys() == {"dataset.conditions"}


def test_an_unconditional_dataset_smuggles_in_no_conditions(world: World) -> None:
    found = violations(world, sharing_class=C.SHARING_CLASS_UNCONDITIONAL)
    assert found.keys() == {"dataset.conditions", "dataset.purposes"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"modes": []}, "dataset.modes"),
        ({"modes": [Mode.MODE_UNSPECIFIED]}, "dataset.modes[0]"),
        ({"modes": [99]}, "dataset.modes[0]"),
        ({"modes": [Mode.MODE_QUERY, Mode.MODE_QUERY]}, "dataset.modes[1]"),
        ({"purposes": [PURPOSE, PURPOSE]}, "dataset.purposes[1]"),
        ({"conditions": [" "]}, "dataset.conditions[0]"),
        ({"conditions": ["x" * 1025]}, "dataset.conditions[0]"),
        ({"subject_normalisers": ["strip", "shout"]}, "dataset.subject_normalisers[1]"),
        ({"name": "departments/civil-registry/datasets/-"}, "dataset.name"),
        (
            {"fields": [pb.DatasetField(name="a", type=FieldType.FIELD_TYPE_STRING, transforms=["blur"])]},
            "dataset.fields[0].transforms[0]",
        ),
        (
            {"fields": [pb.DatasetField(name="a", type=FieldType.FIELD_TYPE_STRING)] * 2},
            "dataset.fields[1].name",
        ),
    ],
)
def test_every_fault_of_an_entry_is_named(world: World, changes: dict[str, Any], field: str) -> None:
    assert field in violations(world, **changes)


def test_a_new_revision_needs_the_etag_it_replaces_when_one_is_given(world: World) -> None:
    first = world.publish()
    second = world.publish(title="人口信息")
    assert second.revision == 2 and second.etag != first.etag
    stale = pb.PublishDatasetRequest(dataset=person(title="再改"), etag=first.etag)
    with pytest.raises(EtagMismatch):
        world.rpc(PROVIDER, "PublishDataset", stale)
    stale.etag = second.etag
    assert world.rpc(PROVIDER, "PublishDataset", stale).dataset.revision == 3


def test_an_etag_for_what_does_not_exist_is_refused(world: World) -> None:
    with pytest.raises(EtagMismatch):
        world.rpc(PROVIDER, "PublishDataset", pb.PublishDatasetRequest(dataset=person(), etag="ab"))


def test_publishing_the_same_again_changes_nothing(world: World) -> None:
    first = world.publish()
    assert world.publish() == first and len(world.records()) == 1


def test_a_repeated_request_returns_the_first_result(world: World) -> None:
    request = pb.PublishDatasetRequest(dataset=person(), request_id="5b0f8b8e-2a54-4c35-9c0e-0a4a9f0f7d11")
    first = world.rpc(PROVIDER, "PublishDataset", request)
    world.publish(title="人口信息")
    assert world.rpc(PROVIDER, "PublishDataset", request) == first
    assert get(world).title == "人口信息"
    # The id belongs to the caller who chose it.
    assert world.rpc(NODE, "PublishDataset", request).dataset.revision == 3


def test_a_retired_dataset_leaves_the_list_and_can_come_back(world: World) -> None:
    world.publish()
    retire = pb.RetireDatasetRequest(name=PERSON, reason="系统停用")
    retired = world.rpc(PROVIDER, "RetireDataset", retire).dataset
    assert retired.retired and get(world).retired
    with pytest.raises(StateConflict, match="retired already"):
        world.rpc(PROVIDER, "RetireDataset", retire)
    assert not world.rpc(SYSTEM, "ListDatasets", pb.ListDatasetsRequest()).datasets
    shown = world.rpc(SYSTEM, "ListDatasets", pb.ListDatasetsRequest(show_retired=True)).datasets
    assert [each.name for each in shown] == [PERSON]
    back = world.publish()
    assert (back.retired, back.revision) == (False, 2)


def test_what_was_never_published_cannot_be_read_or_retired(world: World) -> None:
    with pytest.raises(NotFound):
        get(world)
    with pytest.raises(NotFound):
        world.rpc(PROVIDER, "RetireDataset", pb.RetireDatasetRequest(name=PERSON, reason="x"))


def test_the_catalogue_comes_in_pages(world: World) -> None:
    names = [f"departments/civil-registry/datasets/d{number}" for number in range(5)]
    for name in names:
        world.publish(name=name)
    request = pb.ListDatasetsRequest(parent="departments/civil-registry", page_size=2)
    seen: list[str] = []
    while True:
        page = world.rpc(SYSTEM, "ListDatasets", request)
        seen += [each.name for each in page.datasets]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
        assert len(page.datasets) == 2
    assert seen == names
    request.page_token = "@@@"
    with pytest.raises(InvalidArgument, match="page_token"):
        world.rpc(SYSTEM, "ListDatasets", request)
    other = pb.ListDatasetsRequest(parent="departments/tax")
    assert not world.rpc(SYSTEM, "ListDatasets", other).datasets


def test_departments_are_those_configured_and_those_that_publish(world: World) -> None:
    world.publish()
    theirs = person(name="departments/tax/datasets/payment")
    world.rpc(OUTSIDER, "PublishDataset", pb.PublishDatasetRequest(dataset=theirs))
    page = world.rpc(PORTAL, "ListDepartments", pb.ListDepartmentsRequest(page_size=1))
    (registry,) = page.departments
    assert (registry.name, registry.title, registry.dataset_count, registry.provider) == (
        "departments/civil-registry",
        "民政局",
        1,
        True,
    )
    rest = world.rpc(
        PORTAL, "ListDepartments", pb.ListDepartmentsRequest(page_size=1, page_token=page.next_page_token)
    )
    assert [(each.name, each.provider) for each in rest.departments] == [("departments/tax", False)]
    assert not rest.next_page_token
    request = pb.GetDepartmentRequest(name="departments/civil-registry")
    assert world.rpc(SYSTEM, "GetDepartment", request).department == registry
    with pytest.raises(NotFound):
        world.rpc(SYSTEM, "GetDepartment", pb.GetDepartmentRequest(name="departments/nowhere"))
