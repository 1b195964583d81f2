"""How a stream ends: with a record of what was handed on and why no more was, and only then with a receipt."""

from typing import Final

from audit.ledger import Commit, Ledger, Transaction
from audit.record import StreamEnding
from gateway.denylist import denied
from gateway.exchange.ending import failed
from gateway.exchange.state import Rules
from gateway.stream.ending import Stopped
from gateway.stream.observer import StreamObserver
from gateway.stream.records import Ended, closing_entry
from gateway.stream.source import Source
from gateway.stream.underway import Underway
from isthmus.errors import IsthmusError
from isthmus.reasons import Reason
from isthmus.v1.common_pb2 import Receipt
from isthmus.v1.exchange_service_pb2 import StreamResponse

_SIGNER_DENIED: Final = "the certificate that signed the department's receipt has been denied"


class Closing:
    """Ends streams.

    Args:
        ledger: where the records go.
        rules: the policy, and the keys that close the commitments.
        source: checks the receipts.
        observer: measures.
    """

    def __init__(self, ledger: Ledger, rules: Rules, *, source: Source, observer: StreamObserver) -> None:
        self._ledger = ledger
        self._rules = rules
        self._source = source
        self._observer = observer

    def complete(self, stream: Underway) -> StreamResponse:
        """Records that all was handed on, and returns the last response, with the receipt.

        Raises:
            Misbehaved: the department's receipt is not for what it sent.
            Stopped: the certificate that signed it was denied.
            Unavailable: the end could not be made durable.
        """
        if stream.last is None:
            raise RuntimeError("a stream ends with its last part")
        digest = stream.digest.copy()
        digest.update(stream.last.content)
        signer = self._source.check_receipt(stream, digest.hexdigest())
        stream.add(0, stream.last.content)
        ended = Ended(StreamEnding.COMPLETE, receipt=stream.receipt)

        def work(transaction: Transaction) -> int | None:
            if denied(transaction.connection, [signer]):
                return None
            return self._append(transaction, stream, ended)

        commit = self._ledger.transact(work)
        if commit.value is None:
            raise Stopped(failed(Reason.DEPARTMENT_MISBEHAVED, _SIGNER_DENIED, exchange=stream.exchange.name))
        self._observer.stream_ended(stream.exchange, stream.passenger.view, ended.how)
        return _last(stream, commit.value, commit)

    def record(self, stream: Underway, ended: Ended) -> None:
        """Records any other end. Raises nothing: a stream without a closing record shows that it was cut off."""
        try:
            self._ledger.transact(lambda transaction: self._append(transaction, stream, ended))
        except Exception as fault:  # noqa: BLE001 - the caller is told how the stream ended all the same
            if not isinstance(fault, IsthmusError):
                self._observer.fault(fault)
            self._observer.stream_unended(stream.exchange)
        else:
            self._observer.stream_ended(stream.exchange, stream.passenger.view, ended.how)

    def _append(self, transaction: Transaction, stream: Underway, ended: Ended) -> int:
        entry = closing_entry(stream, ended, rules=self._rules, now=transaction.now)
        return transaction.append(entry.record, detail=entry.detail)


def _last(stream: Underway, position: int, commit: Commit[int | None]) -> StreamResponse:
    response = stream.last.response if stream.last is not None else StreamResponse()
    response.receipt.CopyFrom(
        Receipt(
            record_index=position,
            leaf_hash=commit.leaf_hashes[position],
            checkpoint=commit.checkpoint,
            provider_receipt=stream.receipt,
        )
    )
    return response
