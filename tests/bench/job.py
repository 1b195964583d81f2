"""What the benchmark's processes share: one JSON document a line in, one out, and an end with the parent."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc

from isthmus.pki import Credentials, load_credentials

if TYPE_CHECKING:  # Generic in its stubs only.
    Handler: TypeAlias = grpc.RpcMethodHandler[bytes, bytes]
MAX_MESSAGE: Final = 64 << 20


class Inbox:
    """The parent's documents, read by a thread of their own.

    When the parent is gone the process ends at once, whatever is under way: nobody waits for it any more.
    """

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._take, name="parent-watch", daemon=True).start()

    def read(self) -> Any:
        """The next document; waits for it."""
        return json.loads(self._lines.get())

    def _take(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        os._exit(0)


def write(document: Any) -> None:
    """Answers the parent."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def credentials(files: list[str]) -> Credentials:
    """The credentials in certificate, key and authority files."""
    certificate, key, ca = map(Path, files)
    return load_credentials(certificate, key, ca)


def channel(address: str, server: str, own: Credentials) -> grpc.aio.Channel:
    """A channel to whoever's certificate bears the name `server` (`isthmus.identity.server_name`)."""
    # Each channel is a connection of its own: with several of them, several worker processes are reached.
    options = [("grpc.ssl_target_name_override", server), ("grpc.use_local_subchannel_pool", 1), *limits()]
    return grpc.aio.secure_channel(address, own.channel_credentials(), options=options)


def unary(channel: grpc.aio.Channel, path: str) -> Callable[..., Any]:
    """A unary method, bytes in and bytes out."""
    untyped: Any = channel  # Its stubs insist on serialisers; without them bytes go through as they are.
    call: Callable[..., Any] = untyped.unary_unary(path)
    return call


def limits() -> list[tuple[str, int]]:
    """Message limits for both sides."""
    return [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
