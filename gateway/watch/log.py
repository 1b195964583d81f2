"""The log of exchanges that somebody should look at: those refused, failed or slow.

One that went well has no line: the access record says all about it, a line more would say it to people who may not read
records, and would cost every exchange. Lines hold names, reasons and ids, and nothing that a caller, a department or a
database wrote: no subject, purpose, case reference or message.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from audit.record import AccessRecord, StreamEnding
from gateway.exchange.calls import exchange_trace_id
from gateway.exchange.ending import Ending
from gateway.exchange.item import Exchange
from gateway.exchange.state import View

LINES_A_SECOND: Final = 50
"""Of each process; whoever provokes more denials than that must not fill the disk with them. Every one has its record."""


class ExchangeLog:
    """Writes the lines.

    Args:
        log: where they go.
        slow: seconds in one stage from which on an exchange is slow; 0 for never.
        clock: seconds, never going back.
    """

    def __init__(
        self, log: structlog.typing.FilteringBoundLogger, *, slow: float, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._slow = slow
        self._clock = clock
        self._lock = threading.Lock()
        self._second, self._lines, self._left_out = 0, 0, 0

    def ended(self, exchange: Exchange, view: View | None, ending: Ending) -> None:
        """An exchange has ended and its record is durable."""
        if ending.decision != "ALLOW":
            reasons = [each.name for each in ending.reasons]
            self._decided(exchange, view, ending.decision, reasons, ending.rules)

    def batch_ended(self, exchange: Exchange, view: View | None, record: AccessRecord) -> None:
        """A batch has ended and its record is durable."""
        if record.decision != "ALLOW":
            self._decided(exchange, view, record.decision, record.reasons, record.rules)

    def stream_ended(self, exchange: Exchange, view: View, how: StreamEnding) -> None:
        """A stream has its closing record."""
        if how is not StreamEnding.COMPLETE:
            quiet = how is StreamEnding.CANCELLED
            self._write("stream broken off", exchange, view, info=quiet, ending=how.value)

    def stage(self, name: str, exchanges: Sequence[Exchange], seconds: float) -> None:
        """So many exchanges have passed a stage together."""
        if self._slow and seconds >= self._slow:
            for each in exchanges:
                self._write("exchange slow", each, None, stage=name, seconds=round(seconds, 3))

    def _decided(
        self,
        exchange: Exchange,
        view: View | None,
        decision: str,
        reasons: Sequence[str],
        rules: Sequence[str],
    ) -> None:
        denied = decision == "DENY"
        event = "exchange denied" if denied else "exchange failed"
        said = {"decision": decision, "reasons": list(reasons), "rules": list(rules)}
        self._write(event, exchange, view, info=denied, **said)

    def _write(
        self, event: str, exchange: Exchange, view: View | None, *, info: bool = False, **said: object
    ) -> None:
        left_out = self._admit()
        if left_out is None:
            return
        contract = view.contract if view is not None else None
        (self._log.info if info else self._log.warning)(
            event,
            exchange=exchange.name,
            trace_id=exchange_trace_id(exchange),
            consumer=exchange.asked.consumer,
            provider=contract.provider if contract is not None else "",
            dataset=contract.dataset if contract is not None else "",
            mode=exchange.asked.mode.value,
            **said,
            **({"left_out": left_out} if left_out else {}),
        )

    def _admit(self) -> int | None:
        """How many lines were left out before this one; None when it is to be left out itself."""
        with self._lock:
            second = int(self._clock())
            if second != self._second:
                self._second, self._lines = second, 0
            if self._lines >= LINES_A_SECOND:
                self._left_out += 1
                return None
            self._lines += 1
            left_out, self._left_out = self._left_out, 0
            return left_out
