"""A tiny run of the benchmark fills its figures, and leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.bench import envoy
from tests.bench.processes import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
_END_WITHIN_S = 20


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.bench.run", "--quick", "--folder", str(folder / "work")]
    return subprocess.Popen(
        [*command, "--out", str(folder / "bench.json"), *options],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def living(processes: list[psutil.Process]) -> list[str]:
    """Those that have not ended."""
    _ended, alive = psutil.wait_procs(processes, timeout=_END_WITHIN_S)
    return [" ".join(each.cmdline()) for each in alive]


def test_a_tiny_run_fills_the_figures_of_query_by_measurement(tmp_path: Path) -> None:
    peers = "direct,proxy,proxy_node,gateway"
    with started(tmp_path, "--only", peers, "--callers", "1,32", "--seconds", "0.2") as run:
        out, err = run.communicate()
    assert run.returncode == 0, err
    document = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    for key in ("cpu_vs_bare_proxy", "throughput_vs_direct", "added_p50_ms"):
        assert document[key] is not None and document[key] > 0, key
    assert document["missing"]["cpu_vs_envoy_ext_authz"] == "not asked for in this run"
    assert document["raw"]["peers"]["gateway"]["32"][0]["calls"] > 0
    assert "gateway CPU per Query" in out
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.skipif(envoy.binary() is None, reason="Envoy is not installed; `make bench` installs it")
def test_envoy_and_its_policy_service_let_the_query_through(tmp_path: Path) -> None:
    with started(tmp_path, "--only", "gateway,envoy_authz", "--callers", "32", "--seconds", "0.2") as run:
        _, err = run.communicate()
    assert run.returncode == 0, err
    document = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert document["cpu_vs_envoy_ext_authz"] > 0


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_whatever_it_started_ends_with_it(tmp_path: Path, asked: signal.Signals) -> None:
    with started(tmp_path, "--only", "proxy,gateway", "--seconds", "60") as run:
        assert run.stderr is not None
        for line in run.stderr:
            if "callers" in line:
                break
        processes = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(asked)
        run.communicate(timeout=60)
    assert len(processes) >= 4, "node, gateway, callers, upstream, proxy"
    assert living(processes) == []
    if asked is signal.SIGINT:
        assert run.returncode == 130
        assert list((tmp_path / "work").iterdir()) == []
