"""A witness in a process of its own: `isthmus witness`, or one that is killed between remembering and answering.

python -m tests.faults.witness_process CONFIG      is killed once a checkpoint is remembered, before its answer
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from audit.tlog.cosignature import CosignerSigner
from audit.witness.app import WitnessApp

ROOT = Path(__file__).parents[2]
_CONFIG = """
[witness]
address = "127.0.0.1:0"
key = "witness.key"
memory = "memory/witness.db"
logs = [{logs}]
"""


class WitnessHere:
    """The files of one witness in a folder, and the processes that serve them."""

    def __init__(self, folder: Path, signer: CosignerSigner, *logs: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "witness.toml"
        (folder / "witness.key").write_text(signer.encode(), encoding="utf-8")
        listed = ", ".join(json.dumps(each) for each in logs)
        self.config.write_text(_CONFIG.format(logs=listed), encoding="utf-8")
        self._processes: list[subprocess.Popen[str]] = []

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of `isthmus witness`, finished."""
        command = [sys.executable, "-m", "isthmus", "witness", *arguments, "--config", str(self.config)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    def start(self, *, deadly: bool = False) -> tuple[subprocess.Popen[str], str]:
        """A process that serves, and its address."""
        module = "tests.faults.witness_process" if deadly else "isthmus"
        arguments = [str(self.config)] if deadly else ["witness", "--config", str(self.config)]
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._processes.append(process)
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith("{"), said + process.stderr.read()
        return process, f"http://127.0.0.1:{json.loads(said)['port']}"

    def end(self) -> None:
        """Ends every process that is left."""
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


def main() -> None:
    """Serve, and die as described."""
    from audit.witness.main import run

    answer = WitnessApp._answer

    def die(app: WitnessApp, environ: dict[str, Any]) -> Any:
        found = answer(app, environ)
        if found.status == 200:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    WitnessApp._answer = die  # type: ignore[method-assign,assignment]
    run(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
