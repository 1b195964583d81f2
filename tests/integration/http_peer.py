"""Somebody who answers HTTP as a test says: honestly, slowly, wrongly or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Said:
    """One answer; `drip` seconds lie between its bytes."""

    body: bytes = b""
    status: int = 200
    kind: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0


@contextmanager
def http_peer(answer: Callable[[str, bytes], Said]) -> Iterator[str]:
    """Its address, while it answers; `answer` is given the path and the body of each POST."""
    stopping = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = answer(self.path, body)
            self.send_response(said.status)
            headers = {"Content-Type": said.kind, "Content-Length": str(len(said.body)), **said.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if not said.drip:
                self.wfile.write(said.body)
                return
            for at in range(len(said.body)):
                if stopping.wait(said.drip):
                    return
                try:
                    self.wfile.write(said.body[at : at + 1])
                    self.wfile.flush()
                except OSError:
                    return

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
