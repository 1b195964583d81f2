"""A worker's process: `python -m gateway.worker`, started by `gateway.workers`, never by hand."""

import os
import signal
import socket
import sys
import threading
import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from gateway.load import GatewayError
from gateway.main import Gateway, process_registry, serve
from gateway.processors import keep_to
from gateway.worker_process import END_MARGIN_S, Assignment, receive_assignment, report
from isthmus.log import configure, logger
from isthmus.packaging_guard import ForeignPackageError, ensure_sole_owner

EXIT_REFUSED: Final = 1


def main() -> None:
    """Serves as it is told on standard input, until it is asked to end or its supervisor is gone."""
    channel = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    try:
        assignment = receive_assignment(channel)
    except (EOFError, OSError):
        raise SystemExit(EXIT_REFUSED) from None
    patience = assignment.config.server.grace_seconds + END_MARGIN_S
    threading.Thread(target=end_with, args=(channel, patience), name="supervisor-watch", daemon=True).start()
    configure(level=assignment.log_level)
    try:
        ensure_sole_owner()
        keep_to(assignment.config.server.processors, assignment.number)
        _serve(assignment, channel)
    except (GatewayError, ForeignPackageError) as error:
        report(channel, error=str(error))
        raise SystemExit(EXIT_REFUSED) from error


def end_with(channel: socket.socket, patience: float) -> None:
    """Returns never: asks this process to end once the supervisor has, and after `patience` seconds ends it."""
    try:
        while channel.recv(1):
            pass
    except OSError:
        pass
    logger("gateway").warning("supervisor is gone; ending", pid=os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(patience)
    os._exit(EXIT_REFUSED)


def _serve(assignment: Assignment, channel: socket.socket) -> None:
    registry = process_registry()
    _count_restarts(registry, assignment.restarts)

    def tell(gateway: Gateway) -> None:
        report(channel, metrics_port=gateway.metrics_port)

    serve(assignment.config, registry, tends=assignment.tends, serving=tell)


def _count_restarts(registry: CollectorRegistry, restarts: int) -> None:
    words = "How often the worker of this number was replaced because it ended by itself."
    Counter("isthmus_worker_restarts", words, registry=registry).inc(restarts)


if __name__ == "__main__":
    main()
