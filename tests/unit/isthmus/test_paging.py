"""Page tokens fit the query they were given for, and nothing a stranger sends in their place is more than refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.canonical import MAX_SAFE_INTEGER, canonical_json
from isthmus.errors import InvalidArgument
from isthmus.rpc.paging import Cursor, cursor_of, next_page_token, page_size
from isthmus.v1.catalog_service_pb2 import ListDatasetsRequest, ListDepartmentsRequest

PARTS = st.lists(
    st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    max_size=8,
)


def continued(request: ListDatasetsRequest, cursor: Cursor) -> ListDatasetsRequest:
    """The same query, on its next page."""
    following = ListDatasetsRequest()
    following.CopyFrom(request)
    following.page_token = next_page_token(request, cursor)
    return following


@given(PARTS)
def test_a_cursor_comes_back_as_it_went_out(cursor: list[str | int]) -> None:
    request = ListDatasetsRequest(parent="departments/公安")
    assert cursor_of(continued(request, tuple(cursor))) == tuple(cursor)


def test_the_first_page_has_no_cursor() -> None:
    assert cursor_of(ListDatasetsRequest()) is None


def test_a_caller_may_change_the_page_size_between_pages() -> None:
    following = continued(ListDatasetsRequest(page_size=10), ("a",))
    following.page_size = 500
    assert cursor_of(following) == ("a",)
    assert cursor_of(continued(following, ("b",))) == ("b",)


def test_a_token_does_not_carry_over_to_another_filter() -> None:
    following = continued(ListDatasetsRequest(parent="departments/a"), ("a",))
    following.parent = "departments/b"
    with pytest.raises(InvalidArgument) as caught:
        cursor_of(following)
    assert caught.value.violations[0].field == "page_token"


def test_a_token_does_not_carry_over_to_another_method() -> None:
    token = next_page_token(ListDatasetsRequest(), ("a",))
    with pytest.raises(InvalidArgument):
        cursor_of(ListDepartmentsRequest(page_token=token))


@given(
    st.text(max_size=100) | st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode())
)
def test_anything_else_in_place_of_a_token_is_refused_by_name(text: str) -> None:
    if not text:
        return
    with pytest.raises(InvalidArgument) as caught:
        cursor_of(ListDatasetsRequest(page_token=text.encode("utf-8", "replace").decode()))
    assert caught.value.violations[0].field == "page_token"


@pytest.mark.parametrize("document", [[1], [], {"a": 1}, 7, "x"])
def test_well_formed_json_of_the_wrong_shape_is_refused(document: object) -> None:
    with pytest.raises(InvalidArgument, match="not a token"):
        cursor_of(ListDatasetsRequest(page_token=_token(canonical_json(document))))


@pytest.mark.parametrize("part", [b"null", b"true", b'["n"]', b'{"a":1}', b"1,2,3,4,5,6,7,8"])
def test_a_cursor_holds_a_few_texts_and_integers_and_nothing_else(part: bytes) -> None:
    token = next_page_token(ListDatasetsRequest(), ("a",))
    forged = _token(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[:-1] + b"," + part + b"]")
    with pytest.raises(InvalidArgument, match="not a token"):
        cursor_of(ListDatasetsRequest(page_token=forged))


def test_a_token_of_another_version_asks_to_begin_again() -> None:
    token = next_page_token(ListDatasetsRequest(), ("a",))
    parts = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).replace(b"[1,", b"[2,")
    with pytest.raises(InvalidArgument, match="version"):
        cursor_of(ListDatasetsRequest(page_token=_token(parts)))


def test_a_cursor_too_long_for_a_token_is_the_servers_fault() -> None:
    with pytest.raises(ValueError, match="too long"):
        next_page_token(ListDatasetsRequest(), ("x" * 2000,))
    with pytest.raises(ValueError, match="too long"):
        next_page_token(ListDatasetsRequest(), tuple(range(9)))


@pytest.mark.parametrize(
    ("asked", "given_"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_page_sizes_are_coerced_down(asked: int, given_: int) -> None:
    assert page_size(asked) == given_


def test_a_negative_page_size_is_an_error() -> None:
    with pytest.raises(InvalidArgument) as caught:
        page_size(-1)
    assert caught.value.violations[0].field == "page_size"


def _token(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
