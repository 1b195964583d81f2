"""The rounds in which the audit service has its newest checkpoint timestamped."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from http import HTTPStatus
from typing import Final, Protocol

from cryptography.x509 import Certificate

from audit.http import Post, Unreachable
from audit.ledger import Ledger
from audit.record import milliseconds
from audit.timestamps.stored import newest_timestamped, put_timestamp
from audit.timestamps.token import MAX_RESPONSE_BYTES, TimestampError, make_request, verify_token
from isthmus.log import logger

_MAX_SKEW: Final = timedelta(minutes=5)
_REQUEST: Final = "application/timestamp-query"


class Failure(Enum):
    """Why there is no timestamp."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    INVALID = "invalid"


class Watcher(Protocol):
    """Is told of every checkpoint that was not stamped."""

    def not_stamped(self, failure: Failure) -> None: ...


class _NotStamped(Exception):
    def __init__(self, failure: Failure, problem: str) -> None:
        super().__init__(problem)
        self.failure = failure


class TimestampRound:
    """One round: the newest checkpoint is stamped, unless it was before; older ones it covers.

    Args:
        ledger: whose newest checkpoint is stamped, and which keeps the timestamp.
        authority: what this deployment calls the authority.
        url: where the authority takes requests (RFC 3161 section 3.4).
        roots: the certificates that are trusted to vouch for it.
        post: sends.
        watcher: is told.
        clock: returns the present time, UTC-aware.
    """

    def __init__(
        self,
        ledger: Ledger,
        authority: str,
        *,
        url: str,
        roots: Sequence[Certificate],
        post: Post,
        watcher: Watcher,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._authority = authority
        self._url = url
        self._roots = tuple(roots)
        self._post = post
        self._watcher = watcher
        self._clock = clock
        self._log = logger("audit.timestamps")

    def run(self) -> bool:
        """Have the newest checkpoint stamped; return whether it is now.

        Raises:
            Unavailable: the ledger cannot be read, or cannot keep the timestamp.
        """
        with self._ledger.read() as connection:
            head, done = self._ledger.head(connection), newest_timestamped(connection)
        if head.size <= done:
            return True
        try:
            response = self._stamp(head.note)
        except _NotStamped as error:
            self._watcher.not_stamped(error.failure)
            self._log.warning("not timestamped", authority=self._authority, problem=str(error))
            return False
        at_ms = milliseconds(self._clock())
        self._ledger.transact(
            lambda tx: put_timestamp(
                tx.connection, head.size, self._authority, response=response, at_ms=at_ms
            )
        )
        return True

    def _stamp(self, note: bytes) -> bytes:
        request = make_request(note)
        try:
            answer = self._post(self._url, request.as_bytes(), kind=_REQUEST, most=MAX_RESPONSE_BYTES)
        except Unreachable as error:
            raise _NotStamped(Failure.UNREACHABLE, str(error)) from error
        if answer.status != HTTPStatus.OK:
            raise _NotStamped(Failure.REFUSED, f"it answered {answer.status}")
        try:
            at, _ = verify_token(answer.body, note, self._roots, request=request)
        except TimestampError as error:
            raise _NotStamped(Failure.INVALID, str(error)) from error
        if abs(at - self._clock()) > _MAX_SKEW:
            raise _NotStamped(
                Failure.INVALID, f"its time differs from ours by more than {_MAX_SKEW}; set the clocks right"
            )
        return answer.body
