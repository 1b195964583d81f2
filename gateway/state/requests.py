"""The store of first results: a write that names a request id is done once (AIP-155)."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from gateway.state.schema import idempotency
from gateway.state.times import to_ms
from isthmus.errors import InvalidArgument

M = TypeVar("M", bound=Message)

REMEMBERED_FOR: Final = timedelta(days=7)
"""How long a request id is known; a caller that repeats a call later than this does it again."""


@dataclass(frozen=True, slots=True)
class Once(Generic[M]):
    """A request that is to have one result: its id, the digest of its content, and the type of its response."""

    request_id: str
    digest: str
    response: type[M]

    @classmethod
    def of(cls, request: Message, request_id: str, response: type[M]) -> "Once[M] | None":
        """Returns None for a request without an id.

        Raises:
            InvalidArgument: the id is no UUID.
        """
        if not request_id:
            return None
        try:
            canonical = str(uuid.UUID(request_id))
        except ValueError:
            canonical = ""
        if canonical != request_id.lower():
            raise InvalidArgument("request_id", "must be a UUID such as 5b0f8b8e-2a54-4c35-9c0e-0a4a9f0f7d11")
        return cls(
            canonical, hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest(), response
        )


def first_result(conn: sa.Connection, caller: str, method: str, once: Once[M]) -> M | None:
    """Returns what the caller's first request of this id was answered, or None.

    Raises:
        InvalidArgument: the first request of this id had other content.
    """
    table = idempotency.c
    row = conn.execute(
        sa.select(table.request_digest, table.response).where(
            table.caller == caller, table.method == method, table.request_id == once.request_id
        )
    ).one_or_none()
    if row is None:
        return None
    if row.request_digest != once.digest:
        raise InvalidArgument("request_id", "was used before with another request; take a new UUID")
    return once.response.FromString(row.response)


def remember_result(
    conn: sa.Connection, caller: str, method: str, once: Once[M], result: M, *, at: datetime
) -> None:
    """Keeps the result of a request, and forgets those that are too old to matter."""
    conn.execute(idempotency.delete().where(idempotency.c.at < to_ms(at - REMEMBERED_FOR)))
    conn.execute(
        idempotency.insert().values(
            caller=caller,
            method=method,
            request_id=once.request_id,
            request_digest=once.digest,
            response=result.SerializeToString(),
            at=to_ms(at),
        )
    )
