"""What every process says about itself: its version, and until when its own certificate is good."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from isthmus import __version__
from isthmus.identity import Identity
from isthmus.pki import Credentials

_EXPIRY: Final = "isthmus_certificate_expiry_timestamp_seconds"


class ProcessFacts(Collector):
    """The version, and when the certificate ends that the process has loaded.

    Args:
        registry: where it is registered.
        credentials: the process's own; None for one without a certificate.
        identity: who they are.
    """

    def __init__(
        self, registry: CollectorRegistry, credentials: Credentials | None, identity: Identity | None
    ) -> None:
        self._credentials = credentials
        self._role = identity.role.value if identity is not None else ""
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Returns the metrics."""
        build = GaugeMetricFamily("isthmus_build_info", "1, for the version that runs.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        if self._credentials is not None:
            words = "When the process's own certificate ends, seconds since 1970."
            expiry = GaugeMetricFamily(_EXPIRY, words, labels=["role"])
            ends = self._credentials.certificate.not_valid_after_utc.timestamp()
            expiry.add_metric([self._role], ends)
            yield expiry
