"""How a stream is asked for: in which encoding, which rows, and after which chunk of an earlier one."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from isthmus.terms import predicate_to_json
from isthmus.v1.exchange_service_pb2 import STREAM_ENCODING_ARROW, StreamRequest

MAX_TOKEN: Final = 1024
"""Characters of a resume token, as in exchange_service.proto."""


class Encoding(StrEnum):
    """The encodings of isthmus.v1.StreamEncoding, as a grant spells them."""

    ROWS = "ROWS"
    ARROW = "ARROW"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a StreamRequest says besides what every exchange says; `filters` as JSON, like those of a contract."""

    encoding: Encoding
    filters: tuple[dict[str, Any], ...]
    resume_token: str

    @classmethod
    def of(cls, request: StreamRequest) -> "Wish":
        """What a request wishes."""
        arrow = request.encoding == STREAM_ENCODING_ARROW
        filters = tuple(predicate_to_json(each) for each in request.filters)
        return cls(Encoding.ARROW if arrow else Encoding.ROWS, filters, request.resume_token)
