"""A batch as its caller receives it: the outcomes in parts, the columns in the first, the receipt in the last."""

from collections.abc import Iterator
from typing import Final

from gateway.batch.people import NOBODY
from gateway.batch.release import Settled
from gateway.batch.verdict import NO_IDENTIFIER, Verdict
from isthmus.v1.common_pb2 import DECISION_ALLOW, Decision
from isthmus.v1.exchange_service_pb2 import BatchOutcome, BatchQueryResponse

MOST: Final = 500
"""How many outcomes one message holds at most."""
_MOST_BYTES: Final = 1 << 20
_OUTCOMES: Final = b"\x1a"
_ALLOWED: Final = b"\x10" + bytes([DECISION_ALLOW])
"""The tags of `BatchQueryResponse.outcomes`, and of `BatchOutcome.decision` with its value."""


def responses(exchange: str, settled: Settled) -> Iterator[BatchQueryResponse]:
    """Yields the messages, each of at most 500 outcomes and about 1 MiB; at least one."""
    response = BatchQueryResponse(exchange=exchange, columns=settled.columns)
    gathered: list[bytes] = []
    size = 0
    for piece in _pieces(settled):
        if len(gathered) == MOST or size > _MOST_BYTES:
            response.MergeFromString(b"".join(gathered))
            yield response
            response, gathered, size = BatchQueryResponse(), [], 0
        gathered.append(piece)
        size += len(piece)
    response.MergeFromString(b"".join(gathered))
    response.receipt.CopyFrom(settled.receipt)
    yield response


def _pieces(settled: Settled) -> Iterator[bytes]:
    """Each outcome as it stands in its message, serialised: what the department said is passed on as it is."""
    found, verdicts = settled.found, settled.verdicts
    refusals: dict[Verdict, bytes] = {}
    for index, place in enumerate(settled.people.places):
        answer = found.get(place)
        if answer is None:
            verdict = NO_IDENTIFIER if place == NOBODY else verdicts[place]
            rest = refusals.get(verdict)
            if rest is None:
                rest = refusals[verdict] = _refusal(verdict)
        else:
            rest = _ALLOWED + answer.wire
        head = b"\x08" + varint(index) if index else b""
        yield _OUTCOMES + varint(len(head) + len(rest)) + head + rest


def _refusal(verdict: Verdict) -> bytes:
    decision = Decision.Value(f"DECISION_{verdict.decision}")
    reasons = [reason.value for reason in verdict.reasons]
    return BatchOutcome(decision=decision, reasons=reasons).SerializeToString()  # type: ignore[arg-type]


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    low = bytearray()
    while number >= 0x80:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    low.append(number)
    return bytes(low)
