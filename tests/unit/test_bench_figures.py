"""What the benchmark makes of its measurements: ratios, goals, the document and the table."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway.policy.engine import PolicyEngine
from isthmus.v1.exchange_service_pb2 import QueryRequest
from tests.bench import document, plan, profile, questions, town
from tests.bench.authorizer import Authorizer, message_classes
from tests.bench.envoy import configuration
from tests.bench.load import Target, measure
from tests.bench.peers import COSTS
from tests.bench.processes import ROOT, BenchError, Job
from tests.bench.results import GOALS, KEYS, Goal, Results
from tests.bench.run import main
from tests.bench.stats import Sample, Spread, differences, paired, percentile, rounded
from tests.bench.table import show

ISSUE_KEYS = {
    "cpu_vs_bare_proxy",
    "throughput_vs_direct",
    "cpu_vs_envoy_ext_authz",
    "added_p50_ms",
    "batch_subjects_per_s",
    "stream_rows_per_s",
    "stream_vs_direct",
    "scale_cost_ratio",
    "stream_peak_mib",
}


def sample(key: str, *, cpu: float, per_second: float = 1000, p50: float = 1.0) -> Sample:
    """A second's measurement; `cpu` microseconds a call in each process of the peer."""
    calls = int(per_second)
    seconds = cpu * calls / 1e6
    return Sample(
        calls=calls,
        elapsed=1.0,
        p50=p50,
        p99=2 * p50,
        cpu=dict.fromkeys((*COSTS[key], "behind"), seconds),
        caller_cpu=0.1,
    )


def results_of(**by_key: list[Sample]) -> Results:
    results = Results(plan.QUICK)
    results.take_samples({key: {1: found, 32: found} for key, found in by_key.items()})
    return results


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_reached_by_its_share_and_by_no_smaller_value(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(each <= found for each in values) >= share * len(values)
    assert sum(each < found for each in values) < share * len(values) or found == min(values)


def test_ratios_are_of_the_same_round_so_that_a_slow_moment_hits_both() -> None:
    assert paired([2, 40, 6], [1, 20, 3]).values == (2, 2, 2)
    assert paired([1, 2], [0, 1]).values == (2,)
    assert differences([3, math.nan], [1, 1]).values == (2,)


def test_nothing_measured_is_null_and_never_a_number() -> None:
    assert rounded(Spread().median) is None
    assert Spread().document()["median"] is None
    assert rounded(math.inf) is None
    assert rounded(0.123456) == 0.1235


def test_the_cost_of_a_peer_leaves_out_what_every_peer_needs_behind_it() -> None:
    results = results_of(
        gateway=[sample("gateway", cpu=400, p50=3.0)],
        proxy=[sample("proxy", cpu=200)],
        proxy_node=[sample("proxy_node", cpu=300, p50=1.5)],
        envoy_authz=[sample("envoy_authz", cpu=250)],
        direct=[sample("direct", cpu=1, per_second=2000)],
    )
    assert results.value("cpu_vs_bare_proxy") == 2.0
    assert results.value("cpu_vs_envoy_ext_authz") == 0.8, "Envoy and its authorizer together"
    assert results.value("throughput_vs_direct") == 0.5
    assert results.value("added_p50_ms") == 1.5


def test_the_document_has_every_key_of_the_issue_and_a_reason_for_each_that_is_null(tmp_path: Path) -> None:
    results = results_of(gateway=[sample("gateway", cpu=100)], proxy=[sample("proxy", cpu=200)])
    results.reasons["stream_rows_per_s"] = "UNIMPLEMENTED: not served"
    with results.going_on("scale_cost_ratio"):
        raise BenchError("the disk is full")
    results.write(tmp_path / "build" / "bench.json")
    written = json.loads((tmp_path / "build" / "bench.json").read_text(encoding="utf-8"))
    assert set(KEYS) == ISSUE_KEYS <= set(written)
    assert written["cpu_vs_bare_proxy"] == 0.5
    assert written["missing"].keys() == {key for key in KEYS if written[key] is None}
    assert written["missing"]["stream_rows_per_s"] == "UNIMPLEMENTED: not served"
    assert written["missing"]["scale_cost_ratio"] == "the disk is full"
    assert results.failed


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.key)
def test_a_goal_is_met_up_to_its_limit_and_missed_beyond_it(goal: Goal) -> None:
    beyond = goal.limit * (0.99 if goal.at_least else 1.01)
    within = goal.limit * (1.01 if goal.at_least else 0.99)
    assert goal.reached(within) and not goal.reached(beyond)
    assert goal.reached(goal.limit) == (goal.key != "stream_peak_mib")


def test_the_goals_are_those_of_the_issue() -> None:
    assert {goal.key: goal.words for goal in GOALS} == {
        "cpu_vs_bare_proxy": "≤ 1",
        "throughput_vs_direct": "≥ 0.6",
        "cpu_vs_envoy_ext_authz": "≤ 1",
        "added_p50_ms": "≤ 2 ms",
        "batch_subjects_per_s": "≥ 30,000 subjects/s",
        "stream_vs_direct": "≥ 0.8",
        "stream_rows_per_s": "≥ 500,000 rows/s",
        "scale_cost_ratio": "≤ 1.2",
        "stream_peak_mib": "< 250 MiB",
    }


def test_a_piped_table_is_plain_and_tells_what_was_missed_and_what_is_missing() -> None:
    results = results_of(gateway=[sample("gateway", cpu=300)], proxy=[sample("proxy", cpu=200)])
    results.reasons["stream_peak_mib"] = "UNIMPLEMENTED: [not] served"
    out = StringIO()
    show(results, Console(file=out, width=160))
    text = out.getvalue()
    assert "\x1b" not in text and "━" not in text
    assert "✗" in text and "UNIMPLEMENTED: [not] served" in text
    assert "quick run" in text


def test_the_quick_plan_measures_less_of_the_same_things() -> None:
    full, quick = plan.FULL, plan.QUICK
    assert quick.callers == full.callers
    assert set(full.only) - set(quick.only) == {"workers", "profile"}
    assert full.large == plan.State(consents=1_000_000, contracts=10_000, records=5_000_000)
    assert (full.batch, full.rows) == (quick.batch, 1_000_000) == (1_000, 1_000_000)


class Scripted(Job):
    """A caller that reports what it is told to report."""

    def __init__(self, **report: Any) -> None:
        self._report = report

    def tell(self, document: Any) -> None:
        assert isinstance(document, dict)

    def hear(self) -> Any:
        return self._report


def measured(*, latencies: list[float], errors: dict[str, int]) -> Sample:
    caller = Scripted(
        latencies=latencies, errors=errors, last_words="too busy", elapsed=2.0, cpu=0.5, answer=""
    )
    target = Target(
        key="gateway",
        title="Isthmus",
        address="",
        server_name="",
        credentials=[],
        path="",
        kind="query",
        ask={},
        cost={"gateway": os.getpid()},
    )
    return measure(caller, target, callers=32, seconds=2, warm=0).sample


def test_a_refused_call_ends_the_measurement_because_refusing_is_fast() -> None:
    assert measured(latencies=[0.001, 0.003], errors={}).throughput == 1.0
    for latencies in ([0.001] * 1000, []):
        with pytest.raises(BenchError, match=r"Isthmus at 32 callers: .*RESOURCE_EXHAUSTED.* too busy"):
            measured(latencies=latencies, errors={"RESOURCE_EXHAUSTED": 1})


def test_the_document_shows_figures_only_between_its_marks() -> None:
    results = results_of(gateway=[sample("gateway", cpu=300)], proxy=[sample("proxy", cpu=200)])
    text = document.figures(results.document())
    assert "| 1.5 |" in text and "✗" in text and "not asked for in this run" in text
    page = f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n"
    written = document.insert(page, text)
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "old" not in written
    assert document.insert(written, text) == written
    with pytest.raises(ValueError, match="marks"):
        document.insert("no marks", text)
    assert document.insert((ROOT / "docs" / "PERFORMANCE.md").read_text(encoding="utf-8"), text)


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--only", "gateway,nonsense"])
    assert refused.value.code == 2
    assert "envoy_authz" in capsys.readouterr().err


def test_the_first_hundred_people_can_be_asked_about_alike_in_every_state() -> None:
    few, many = plan.FULL.small, plan.FULL.large
    assert few.consents == town.FEW_PEOPLE
    for number in range(town.FEW_PEOPLE):
        assert town.contract_of(number, few.contracts) == town.contract_of(number, many.contracts)
    spread = {town.contract_of(number, many.contracts) for number in range(50_000)}
    assert len(spread) == many.contracts


def test_profiles_are_shares_of_samples_and_count_recursion_once() -> None:
    found = profile.shares(["main (a.py:1);f (b.py:2);f (b.py:3) 3", "main (a.py:9) 1"])
    assert found["own"] == {"f (b.py)": 0.75, "main (a.py)": 0.25}
    assert found["with_what_it_calls"] == {"main (a.py)": 1.0, "f (b.py)": 0.75}
    assert profile.shares([]) == {}


def test_the_peers_policy_service_decides_like_the_gateways_policy() -> None:
    """A peer that allowed everything, or was asked the wrong thing, would be no yardstick."""
    authorizer = Authorizer("contracts/bench-consent@1", "0" * 64)
    (asked,) = questions.query_requests({"contract": town.CONSENTED, "subjects": 1})
    principal = "spiffe://demo.isthmus.example/department/education/system/enrolment"
    engine = PolicyEngine()
    facts = authorizer.facts(principal, QueryRequest.FromString(asked))
    assert engine.decide(facts).allowed
    assert not engine.decide(replace(facts, purpose="advertising")).allowed
    check = message_classes()["CheckRequest"]()
    check.attributes.source.principal = principal
    check.attributes.request.http.raw_body = b"\0\0\0\0\0" + asked
    response = message_classes()["CheckResponse"]
    assert response.FromString(authorizer.answer(check.SerializeToString())).status == b""
    check.attributes.source.principal = principal.replace("education", "tax")
    assert response.FromString(authorizer.answer(check.SerializeToString())).status != b""


@pytest.mark.parametrize("authorizer", ["", "127.0.0.1:3"])
def test_envoy_asks_for_the_callers_certificate_and_pins_the_upstream(authorizer: str) -> None:
    settings = {
        "address": "127.0.0.1:1",
        "credentials": ["cert.pem", "cert.key", "ca.pem"],
        "upstream": "127.0.0.1:2",
        "upstream_name": "main.node.test",
        "authorizer": authorizer,
    }
    resources = configuration(settings)["static_resources"]
    (chain,) = resources["listeners"][0]["filter_chains"]
    assert chain["transport_socket"]["typed_config"]["require_client_certificate"] is True
    upstream = json.dumps(resources["clusters"][0])
    assert "match_typed_subject_alt_names" in upstream and "main.node.test" in upstream
    assert ("ext_authz" in json.dumps(chain)) == bool(authorizer)
