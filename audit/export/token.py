"""Where an export goes on. Like a page token it is no authorisation: every part is filtered as the first one was."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from isthmus.canonical import CanonicalError, canonical_json, parse_canonical
from isthmus.errors import InvalidArgument
from isthmus.v1 import audit_service_pb2 as pb

_VERSION: Final = 1
_MAX_CHARACTERS: Final = 1024
_NO_TOKEN: Final = "is not a token that this service gave; begin again without one"


@dataclass(frozen=True, slots=True)
class Span:
    """What is left of an export: the records from `next` up to before `end`, which is fixed when the export begins."""

    next: int
    end: int


def resume_token(request: pb.ExportRecordsRequest, span: Span) -> str:
    """The token that goes on with the same filter and format."""
    data = canonical_json([_VERSION, _asked(request), span.next, span.end])
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def span_of(request: pb.ExportRecordsRequest, *, size: int) -> Span:
    """What the request asks for: all of the log, or what its token leaves.

    Args:
        request: the request.
        size: how many records the log holds now.

    Raises:
        InvalidArgument: the token is none, of another filter or format, or of another log.
    """
    if not request.resume_token:
        return Span(0, size)
    version, asked, first, end = _read(request.resume_token)
    if version != _VERSION:
        raise InvalidArgument("resume_token", _NO_TOKEN)
    if asked != _asked(request):
        raise InvalidArgument(
            "resume_token", "belongs to an export with another filter or format; repeat that one"
        )
    if not (type(first) is int and type(end) is int and 0 <= first <= end <= size):
        raise InvalidArgument("resume_token", _NO_TOKEN)
    return Span(first, end)


def _asked(request: pb.ExportRecordsRequest) -> str:
    return hashlib.sha256(
        canonical_json([request.filter, int(request.format or pb.EXPORT_FORMAT_JSON_LINES)])
    ).hexdigest()[:32]


def _read(token: str) -> tuple[object, object, object, object]:
    try:
        if len(token) > _MAX_CHARACTERS:
            raise ValueError
        data = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True)
        version, asked, first, end = parse_canonical(data, max_depth=1)
    except (binascii.Error, CanonicalError, TypeError, ValueError):
        raise InvalidArgument("resume_token", _NO_TOKEN) from None
    return version, asked, first, end
