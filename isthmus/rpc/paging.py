"""Pages of a list (AIP-158): page sizes, and opaque page tokens that fit one query only.

A token says where to go on; it is never an authorisation. Whoever can forge one sees what it could have listed
anyway, so tokens carry no secret and no signature, and a service MUST filter every page as it filters the first.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import Message

from isthmus.canonical import CanonicalError, canonical_json, parse_canonical
from isthmus.errors import InvalidArgument

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000

_VERSION: Final = 1
_MAX_TOKEN: Final = 2048
_MAX_PARTS: Final = 8

Cursor = tuple[str | int, ...]
"""Where the next page begins, such as the sort key of the last entry of this one."""


def page_size(requested: int) -> int:
    """Returns how many entries a page holds: 50 for 0, at most 1000.

    Raises:
        InvalidArgument: `requested` is negative.
    """
    if requested < 0:
        raise InvalidArgument("page_size", "must not be negative; 0 asks for the default of 50")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def next_page_token(request: Message, cursor: Sequence[str | int]) -> str:
    """Returns the token of the page that begins after `cursor`, for the same query as `request`.

    Args:
        request: a list request; everything but `page_size` and `page_token` belongs to the query.
        cursor: at most 8 texts and integers (of at most 53 bits). It is readable by the caller: no secrets.

    Raises:
        ValueError: the cursor is too long for a token.
    """
    token = _encode(canonical_json([_VERSION, _query_hash(request), *cursor]))
    if len(token) > _MAX_TOKEN or len(cursor) > _MAX_PARTS:
        raise ValueError("the cursor is too long for a page token")
    return token


def cursor_of(request: Any) -> Cursor | None:
    """Returns the cursor in `request.page_token`; None for the first page.

    The caller MUST treat the cursor as input: its number of parts and their types are whatever a token held.

    Raises:
        InvalidArgument: the token is malformed, of another version, or of another query.
    """
    if not request.page_token:
        return None
    version, query, *cursor = _decode(request.page_token)
    if version != _VERSION:
        raise InvalidArgument("page_token", "is of another version; begin again without one")
    if query != _query_hash(request):
        raise InvalidArgument(
            "page_token", "belongs to a query with other filters; repeat that query, or begin without a token"
        )
    return tuple(cursor)


def _query_hash(request: Message) -> str:
    query = type(request)()
    query.CopyFrom(request)
    for field in ("page_size", "page_token"):
        query.ClearField(field)
    name = request.DESCRIPTOR.full_name.encode("ascii")
    digest = hashlib.sha256(name + b"\0" + query.SerializeToString(deterministic=True))
    return digest.hexdigest()[:32]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(token: str) -> list[str | int]:
    try:
        if len(token) > _MAX_TOKEN:
            raise ValueError
        data = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True)
        parts = parse_canonical(data, max_depth=1)
    except (binascii.Error, CanonicalError, ValueError):
        raise _malformed() from None
    if not isinstance(parts, list) or not 2 <= len(parts) <= 2 + _MAX_PARTS or _encode(data) != token:
        raise _malformed()
    if not all(isinstance(part, str | int) and not isinstance(part, bool) for part in parts):
        raise _malformed()
    return parts


def _malformed() -> InvalidArgument:
    return InvalidArgument("page_token", "is not a token that this service gave; begin again without one")
