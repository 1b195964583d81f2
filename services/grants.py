"""The gateway's grant: what the node may serve, for whom, and until when.

A grant counts only when a gateway of this trust domain signed it, that same gateway presents it, it is meant for
this department, and its time has neither passed nor been drawn too long. Anything else about it that is wrong
spoils it whole; whether its items suit the manifest is `services.veto`'s question, item by item.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from isthmus.errors import PermissionDenied
from isthmus.identity import Identity, Role
from isthmus.reasons import Reason
from isthmus.statement import StatementError, StatementKind, StatementVerifier
from services.grant_items import GrantItem, read_items
from services.members import GrantFormError, Members

MAX_GRANT_BYTES: Final = 3_145_728
MAX_LIFE: Final = timedelta(seconds=30)
CLOCK_SKEW: Final = timedelta(seconds=5)
"""How far the clocks of gateway and node may differ."""

ReadItems = Callable[[Members], tuple[GrantItem, ...]]


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant that holds."""

    id: str
    gateway: Identity
    issued_at: datetime
    expires_at: datetime
    items: tuple[GrantItem, ...]


def refuse(what: str) -> PermissionDenied:
    """The refusal of a whole grant; `what` completes "the grant …" and holds nothing personal."""
    return PermissionDenied(Reason.GRANT_INVALID, f"the grant {what}")


class GrantVerifier:
    """Checks grants for one department; safe to use from many threads.

    Args:
        department: `departments/{department}`.
        statements: verifies signatures against the trust anchors.
        clock: returns the present time, UTC-aware.
    """

    def __init__(
        self, department: str, *, statements: StatementVerifier, clock: Callable[[], datetime]
    ) -> None:
        self._department = department
        self._statements = statements
        self._clock = clock

    def verify(self, token: str, *, caller: Identity, read: ReadItems = read_items) -> Grant:
        """Returns the grant in `token`.

        Args:
            token: a JWS of type `isthmus-grant+jws`.
            caller: the identity at the other end of the connection.
            read: reads the items; `services.grant_items.read_stream` for a stream.

        Raises:
            PermissionDenied: GRANT_INVALID, with the rule that does not hold. Whether it was used before is
                left to the journal.
        """
        try:
            verified = self._statements.verify(
                token, kind=StatementKind.GRANT, expect_role=Role.GATEWAY, max_bytes=MAX_GRANT_BYTES
            )
        except StatementError as error:
            raise refuse(f"is refused: {error}") from None
        if verified.identity != caller:
            raise refuse(f"was signed by {verified.identity.resource} and brought by {caller.resource}")
        try:
            return self._read(verified.payload, verified.identity, read)
        except GrantFormError as error:
            raise refuse(f"cannot be read: {error}") from None

    def _read(self, payload: Mapping[str, Any], gateway: Identity, read: ReadItems) -> Grant:
        members = Members(
            payload, "grant", allowed={"grant", "department", "issued_at", "expires_at", "items"}
        )
        department = members.text("department", 128)
        if department != self._department:
            raise refuse(f"is meant for another node than that of {self._department}")
        issued_at, expires_at = members.time("issued_at"), members.time("expires_at")
        self._check_time(issued_at, expires_at)
        return Grant(members.uuid("grant"), gateway, issued_at, expires_at, read(members))

    def _check_time(self, issued_at: datetime, expires_at: datetime) -> None:
        now = self._clock()
        if not timedelta(0) < expires_at - issued_at <= MAX_LIFE:
            raise refuse(f"must live more than 0 and at most {MAX_LIFE.seconds} seconds")
        if issued_at > now + CLOCK_SKEW:
            raise refuse("was issued in the future; compare the clocks of gateway and node")
        if now >= expires_at + CLOCK_SKEW:
            raise refuse("has expired; ask for a new one, and compare the clocks of gateway and node")
