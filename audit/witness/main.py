"""The process of a witness: reads its key, remembers, and answers until SIGTERM or SIGINT."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry

from audit.http_server import HttpServer
from audit.keys import load_cosigner
from audit.witness.app import WitnessApp
from audit.witness.config import WitnessConfig
from audit.witness.metrics import WitnessMetrics
from audit.witness.protocol import MAX_REQUEST_BYTES
from audit.witness.store import Store
from audit.witness.witness import Witness
from isthmus.config import load
from isthmus.log import configure, logger
from isthmus.packaging_guard import ensure_sole_owner
from isthmus.rpc import MetricsServer, ProcessFacts, metrics_server

Clock = Callable[[], datetime]


class WitnessProcess:
    """A witness that answers from its making on; `close` it.

    Args:
        config: its configuration.
        clock: returns the present time, UTC-aware.
        registry: receives the metrics.

    Raises:
        KeyFileError, StoreError, NoteError, ValueError: a file, key or address cannot be used.
        OSError: an address cannot be bound.
    """

    def __init__(self, config: WitnessConfig, *, clock: Clock, registry: CollectorRegistry) -> None:
        settings = config.witness
        signer = load_cosigner(settings.key)
        logs = settings.keys()
        if any(each.public_key == signer.verifier.public_key for each in logs):
            raise ValueError(
                "the witness has the key of a log: a log cannot vouch for itself; make another key"
            )
        store = Store(settings.memory, signer.verifier.encode())
        witness = Witness(logs, signer, store=store, clock=clock)
        app = WitnessApp(witness, WitnessMetrics(registry, tuple(each.name for each in logs)))
        self._server = HttpServer(settings.address, app, name="witness", max_body_bytes=MAX_REQUEST_BYTES)
        ProcessFacts(registry, None, None)
        self._metrics: MetricsServer | None = None
        try:
            if config.metrics:
                self._metrics = metrics_server(registry, config.metrics.host, config.metrics.port)
        except BaseException:
            self._server.close()
            raise

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    def close(self) -> None:
        """Let what is being answered end, and stop."""
        self._server.close()
        if self._metrics:
            self._metrics.close()


def run(config: Path, *, environ: Mapping[str, str] | None = None, log_level: str = "INFO") -> None:
    """Answer until the process is asked to stop.

    Args:
        config: `witness.toml`.
        environ: overrides of its keys; the process's environment unless given.
        log_level: DEBUG, INFO, WARNING, ERROR or CRITICAL.

    Raises:
        ConfigError, ForeignPackageError, ValueError: the configuration cannot be used.
        The errors of `WitnessProcess`: it cannot start.
    """
    ensure_sole_owner()
    configure(level=log_level)
    settings = load(config, WitnessConfig, environ=os.environ if environ is None else environ)
    asked = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: asked.set())
    process = WitnessProcess(settings, clock=lambda: datetime.now(UTC), registry=CollectorRegistry())
    try:
        logger("witness").info("serving", port=process.port, logs=len(settings.witness.logs))
        asked.wait()
    finally:
        process.close()
