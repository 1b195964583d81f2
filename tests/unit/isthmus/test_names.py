"""Resource names: what is written is what is read, and nothing else is a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InvalidArgument
from isthmus.names import ConsentName, ContractName, DatasetName, DepartmentName, ExchangeName, SystemName

slugs = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)


@given(slugs, slugs)
def test_a_name_reads_back_as_it_was_written(first: str, second: str) -> None:
    for name in (DatasetName(first, second), SystemName(first, second)):
        assert type(name).parse(str(name)) == name
    assert DepartmentName.parse(f"departments/{first}").department == first


@given(slugs, st.one_of(st.none(), st.integers(1, 999_999_999)))
def test_a_contract_name_keeps_its_version(slug: str, version: int | None) -> None:
    name = ContractName(slug, version)
    assert ContractName.parse(str(name)) == name
    assert str(name.base) == f"contracts/{slug}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "departments/",
        "departments/A",
        "departments/教育",
        "departments/a/",
        "departments/-a",
        "departments/a\n",
        "departments/../x",
        "departments/" + "a" * 64,
        "x" * 100_000,
    ],
)
def test_what_is_no_department_name_is_refused_by_field(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        DepartmentName.parse(text, field="dataset.name")
    assert caught.value.violations[0].field == "dataset.name"


@pytest.mark.parametrize(
    "text", ["contracts/a@0", "contracts/a@01", "contracts/a@", "contracts/a@1@2", "contracts/a@١"]
)
def test_a_version_is_a_positive_decimal_number(text: str) -> None:
    with pytest.raises(InvalidArgument):
        ContractName.parse(text)


def test_a_version_can_be_demanded_or_forbidden() -> None:
    with pytest.raises(InvalidArgument, match="must name a version"):
        ContractName.parse("contracts/a", versioned=True)
    with pytest.raises(InvalidArgument, match="must not name a version"):
        ContractName.parse("contracts/a@1", versioned=False)


def test_uuids_are_lower_case_and_whole() -> None:
    name = ConsentName.new()
    assert ConsentName.parse(str(name)) == name
    for text in (str(name).upper(), str(name)[:-1], f"{name}0"):
        with pytest.raises(InvalidArgument):
            ConsentName.parse(text)
    with pytest.raises(InvalidArgument):
        ExchangeName.parse(str(name))
