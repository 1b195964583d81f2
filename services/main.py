"""The node's process: reads the manifest, serves until SIGTERM or SIGINT, and lets calls under way end."""

import signal
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from isthmus.log import configure
from isthmus.packaging_guard import ensure_sole_owner
from isthmus.rpc.garbage import settle
from services.manifest_file import load_manifest
from services.node import Node


def run(config: Path, *, environ: Mapping[str, str] | None = None, log_level: str = "INFO") -> None:
    """Serves a manifest until the process is asked to stop.

    Args:
        config: the manifest, `department.toml`.
        environ: overrides of its keys; the process's environment unless given.
        log_level: DEBUG, INFO, WARNING, ERROR or CRITICAL.

    Raises:
        ManifestError, NodeError: the node cannot start; the message says why.
        ForeignPackageError: another distribution has installed a package of Isthmus's name.
    """
    ensure_sole_owner()
    configure(level=log_level)
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    node = Node(load_manifest(config, environ=environ), clock=lambda: datetime.now(UTC), registry=registry)
    asked = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: asked.set())
    try:
        node.start()
        settle()
        asked.wait()
    finally:
        node.stop()
