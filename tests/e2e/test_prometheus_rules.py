"""Prometheus itself takes the rules, and every alert fires when it should, only then, and says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.alert_cases import CASES, Case, Series

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "prometheus"
RULES = ("recording.yml", "slo.yml", "alerts.yml")
RUNBOOK = ROOT / "docs" / "RUNBOOK.md"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("promtool") is None, reason="needs promtool of the Debian package prometheus"
    ),
]


def promtool(*arguments: str | Path, cwd: Path = DEPLOY) -> str:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> dict[str, str]:
    """Every alert of the rule files, and what is written about it."""
    found: dict[str, str] = {}
    for name in RULES:
        text = (DEPLOY / name).read_text(encoding="utf-8")
        for part in text.split("- alert: ")[1:]:
            found[part.split("\n", 1)[0]] = part
    return found


def severity(alert: str) -> str:
    (found,) = re.findall(r"severity: (\w+)", alerts()[alert].split("- record:")[0])
    return str(found)


def test_prometheus_takes_the_configuration_and_its_rules() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", *RULES)


def test_every_alert_has_a_case_and_a_section_of_the_runbook() -> None:
    assert sorted(case.alert for case in CASES) == sorted(alerts())
    sections = re.findall(r"^## (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == list(alerts()), "the runbook has a section for every alert, in their order"
    for name, text in alerts().items():
        assert f"runbook: docs/RUNBOOK.md#{name.lower()}\n" in text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    runbook = f"docs/RUNBOOK.md#{case.alert.lower()}"
    told = {
        "exp_labels": {"severity": severity(case.alert), **case.labels},
        "exp_annotations": {"summary": case.summary, "runbook": runbook},
    }
    document = {
        "rule_files": [str(DEPLOY / name) for name in RULES],
        "evaluation_interval": case.every,
        "tests": [
            _test(case, case.fires, case.at, [told]),
            _test(case, case.quiet, case.quiet_at or case.at, []),
        ],
    }
    path = tmp_path / "case.yml"
    path.write_text(json.dumps(document), encoding="utf-8")
    promtool("test", "rules", path)


def _test(case: Case, series: Series, at: str, told: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "interval": case.every,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": case.alert, "exp_alerts": told}],
    }
