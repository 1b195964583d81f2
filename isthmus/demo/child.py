"""One server of the demonstration in a process of its own, ended when its parent is gone.

The parent holds the other end of standard input. However the parent ends, the pipe closes and the server is asked
to stop, so that a killed demonstration leaves nothing running.

Run as `python -m isthmus.demo.child {gateway|audit|department} <configuration file>`.
"""

import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

# The entry points behind `isthmus gateway` and the like, without loading the whole command line.
_MAINS: Final = {"gateway": "gateway.main", "audit": "audit.main", "department": "services.main"}


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(server: str, config: str) -> None:
    """Serves until asked to stop. Whatever stops it from starting is its last words on standard error."""
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    module = importlib.import_module(_MAINS[server])
    try:
        module.run(Path(config), environ={}, log_level="WARNING")
    except (ValueError, RuntimeError, OSError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main(*sys.argv[1:])
