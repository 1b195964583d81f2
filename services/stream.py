"""Serving a stream: line, rows, receipt. The next rows are read only when the last ones have been taken."""

import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final

from isthmus.errors import (
    Cancelled,
    InvalidArgument,
    IsthmusError,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from isthmus.identity import Identity
from isthmus.reasons import Reason
from isthmus.terms import rfc3339
from isthmus.traceparent import TraceParent
from isthmus.v1.department_service_pb2 import StreamRowsResponse
from services.answers import UnfitField
from services.arrow import ArrowChunks, ArrowMissing
from services.chunks import ChunkEncoder, RowChunks, RowTooLarge, chunks
from services.grant_items import Encoding, GrantItem, read_stream
from services.grants import Grant
from services.journal import Ending, How
from services.page_reader import PageReader, Visible
from services.pages import PageError
from services.parts import RETRY, NodeParts, journal_line
from services.plan import ItemPlan
from services.receipts import receipt_payload, sign_receipt
from services.resume import ResumeRefused, stream_binding
from services.telling import Telling
from services.values import UnfitValue
from services.veto import Veto

_EMPTY_DIGEST: Final = sha256(b"").hexdigest()


class Streamer:
    """Serves grants of streams; safe to use from many threads.

    Args:
        parts: the node's.
        most: how many streams at once.
    """

    def __init__(self, parts: NodeParts, *, most: int) -> None:
        self._parts = parts
        self._most = most
        self._slots = threading.BoundedSemaphore(most)

    def stream(
        self,
        token: str,
        *,
        caller: Identity,
        wanted: Callable[[], bool],
        trace: TraceParent | None = None,
    ) -> Iterator[StreamRowsResponse]:
        """The responses of a stream: columns first, then chunks, the receipt last.

        Args:
            token: the grant, a JWS with one item of mode STREAM.
            caller: the identity at the other end of the connection.
            wanted: whether anybody still waits; asked between two pages.
            trace: the trace that the caller says this belongs to.

        Raises:
            ResourceExhausted: OVERLOADED, as many streams as may are being sent.
            PermissionDenied: GRANT_INVALID; PROVIDER_VETO where the manifest, the stored data or this node's
                installation do not allow it.
            InvalidArgument: the resume token opens no position of this stream.
            Unavailable, DeadlineExceeded: the database or the journal does not work now, or takes too long.
        """
        if not self._slots.acquire(blocking=False):
            what = f"this node sends {self._most} streams at once, and no more; try again when one has ended"
            raise ResourceExhausted(Reason.OVERLOADED, what, retry_after=RETRY)
        self._parts.metrics.streams.inc()
        telling, fault = self._parts.telling("isthmus.node.stream", trace, caller), None
        try:
            yield from self._admitted(token, caller, wanted, telling)
        except IsthmusError as error:
            fault = error
            raise
        finally:
            telling.ended(fault)
            self._parts.metrics.streams.dec()
            self._slots.release()

    def _admitted(
        self, token: str, caller: Identity, wanted: Callable[[], bool], telling: Telling
    ) -> Iterator[StreamRowsResponse]:
        parts = self._parts
        try:
            grant = telling.grant = parts.grants.verify(token, caller=caller, read=read_stream)
            (item,) = grant.items
            run = _Run(parts, grant, item)
            line = journal_line(
                grant,
                item,
                served_at=rfc3339(parts.clock()),
                served=0,
                refused=0,
                refusals=(),
                row_count=0,
                digest=_EMPTY_DIGEST,
            )
            # Before the first byte leaves; this is also what makes a replayed grant worthless.
            parts.write_lines([line])
        except PermissionDenied as error:
            if error.reason is Reason.GRANT_INVALID:
                parts.metrics.grants_refused.inc()
            raise
        yield from run.responses(wanted)


class _Run:
    """One stream, from its admission to its ending."""

    def __init__(self, parts: NodeParts, grant: Grant, item: GrantItem) -> None:
        self._parts, self._grant, self._item = parts, grant, item
        self._binding = stream_binding(item)
        try:
            self._plan = parts.planner.plan(item)
            self._encoder = _encoder(self._plan)
            after = parts.resume.open(item.resume, self._binding) if item.resume else None
            self._pages = parts.look_up(
                self._plan.dataset.id, lambda: PageReader(parts.source, self._plan, after)
            )
        except (Veto, PageError) as error:
            raise _veto(str(error)) from None
        except ResumeRefused as error:
            raise InvalidArgument("resume", str(error)) from None
        self._digest = sha256()
        self._rows, self._bytes = 0, 0

    def responses(self, wanted: Callable[[], bool]) -> Iterator[StreamRowsResponse]:
        how, receipt = How.FAILED, ""
        try:
            yield from self._body(wanted)
            how, receipt = How.COMPLETE, self._receipt()
        except (GeneratorExit, Cancelled):
            how = How.CANCELLED
            raise
        finally:
            # Before the receipt leaves, so that no receipt is in the world that the journal does not know.
            self._end(how, receipt)
        yield StreamRowsResponse(chunk=self._encoder.tail, receipt=receipt)

    def _body(self, wanted: Callable[[], bool]) -> Iterator[StreamRowsResponse]:
        self._sent(self._encoder.head, 0)
        yield StreamRowsResponse(columns=self._plan.shape.columns, chunk=self._encoder.head)
        try:
            while (page := self._next(wanted)) is not None:
                yield from self._chunks(page)
        except (PageError, UnfitField) as error:
            raise _veto(str(error)) from None
        except UnfitValue:
            raise _veto(
                "a stored value is not of its column's own type; the department must correct it"
            ) from None
        except RowTooLarge:
            raise _veto("a row is larger than a message may be; leave out the largest field") from None
        self._sent(self._encoder.tail, 0)

    def _next(self, wanted: Callable[[], bool]) -> Visible | None:
        # gRPC closes this generator when its caller goes; but only when it is given a chunk, and a strict filter
        # may have none for a long time.
        if not wanted():
            raise Cancelled(Reason.CANCELLED, "the caller gave up; the stream was broken off")
        return self._parts.look_up(self._plan.dataset.id, self._pages.read)

    def _chunks(self, page: Visible) -> Iterator[StreamRowsResponse]:
        done = 0
        for chunk, count in chunks(self._encoder, page.columns, len(page.rows)):
            done += count
            self._sent(chunk, count)
            position = page.position_after(done)
            token = "" if position is None else self._parts.resume.seal(position, self._binding)
            yield StreamRowsResponse(chunk=chunk, row_count=count, resume_token=token)

    def _sent(self, chunk: bytes, rows: int) -> None:
        self._digest.update(chunk)
        self._rows += rows
        self._bytes += len(chunk)

    def _receipt(self) -> str:
        parts, item = self._parts, self._item
        member = {"exchange": item.exchange, "digest": self._digest.hexdigest(), "row_count": self._rows}
        payload = receipt_payload(
            department=parts.department, grant=self._grant.id, served_at=parts.clock(), members=[member]
        )
        return sign_receipt(payload, parts.credentials)

    def _end(self, how: How, receipt: str) -> None:
        parts = self._parts
        parts.count(self._item, {how.value: 1}, self._rows)
        try:
            parts.write_ending(
                Ending(
                    exchange=self._item.exchange,
                    ended_at=rfc3339(parts.clock()),
                    how=how,
                    row_count=self._rows,
                    byte_count=self._bytes,
                    digest=self._digest.hexdigest(),
                    receipt_digest=sha256(receipt.encode()).hexdigest() if receipt else "",
                )
            )
        except Unavailable:
            # Without an ending, a complete stream must not have a receipt. Another has a fault to tell already.
            if how is How.COMPLETE:
                raise


def _encoder(plan: ItemPlan) -> ChunkEncoder:
    if plan.item.encoding is Encoding.ROWS:
        return RowChunks(plan.shape)
    try:
        return ArrowChunks(plan.shape)
    except ArrowMissing:
        raise Veto(
            "this node does not write Arrow (its extra arrow is not installed); ask for ROWS"
        ) from None


def _veto(explanation: str) -> PermissionDenied:
    return PermissionDenied(Reason.PROVIDER_VETO, explanation)
