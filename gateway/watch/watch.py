"""Everybody who watches a gateway's exchanges, put together once."""

import time
from dataclasses import dataclass

from gateway.config import Config
from gateway.exchange.calls import Calls
from gateway.exchange.release import Commits
from gateway.load import GatewayError
from gateway.metrics import GatewayMetrics
from gateway.watch.log import ExchangeLog
from gateway.watch.observers import Observers
from gateway.watch.spans import ExchangeSpans
from isthmus.log import logger
from isthmus.pki import Credentials
from isthmus.tracing import Spans, TracingUnavailable, open_spans


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of exchanges.

    Attributes:
        observers: how they end, and how long their stages take.
        calls: the traces of calls to departments.
        commits: that records are durable; None where nobody wants to know.
        spans: where spans go; None for nowhere.
    """

    observers: Observers
    calls: Calls
    commits: Commits | None
    spans: Spans | None

    def close(self) -> None:
        """Sends what is left to be sent, for a few seconds at most."""
        if self.spans is not None:
            self.spans.close()


def open_watch(config: Config, credentials: Credentials, metrics: GatewayMetrics) -> Watch:
    """Opens what the configuration asks for.

    Raises:
        GatewayError: spans are to be exported, and this installation cannot.
    """
    log = ExchangeLog(logger("exchange"), slow=config.exchange.slow_seconds, clock=time.monotonic)
    identity = credentials.identity(config.server.trust_domain)
    try:
        spans = open_spans(config.tracing, service="isthmus-gateway", instance=identity.uri)
    except TracingUnavailable as error:
        raise GatewayError(str(error)) from error
    if spans is None:
        return Watch(Observers(metrics, log), Calls(), None, None)
    told = ExchangeSpans(spans)
    return Watch(Observers(metrics, log, told), Calls(spans), told.committed, spans)
