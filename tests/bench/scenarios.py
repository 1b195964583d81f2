"""Everything that is measured, one after the other, on one site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bench import seed, streams
from tests.bench.growth import growth
from tests.bench.peers import Peers, take_turns
from tests.bench.plan import PEERS, Plan
from tests.bench.processes import Job, resident_bytes
from tests.bench.profile import profile
from tests.bench.results import KEYS, Results
from tests.bench.site import Office, Site
from tests.bench.streams import Streams
from tests.bench.workers import workers

Report = Callable[[str], None]


def measure_all(plan: Plan, folder: Path, results: Results, report: Report) -> None:
    """Fills `results` with what the plan asks for; what fails is noted there, and the rest goes on.

    Raises:
        BenchError, DemoError, IsthmusError: node and gateway do not come up.
    """
    report("starting node and gateway")
    only_peers = not set(plan.only) - set(PEERS)
    with Site(folder / "site", plan.subjects if only_peers else plan.rows) as site:
        office = site.open_office("main")
        seed.add_consents(office.shared, consents=plan.subjects, contracts=1)
        caller = site.jobs.start("tests.bench.caller", {})
        with results.going_on(*KEYS[:4]):
            _peers(site, office, caller, results, report)
        _streams(site, office, caller, results, report)
        with results.going_on():
            if "profile" in plan.only:
                profile(site, office, caller, results, report)
        site.close(office)
        with results.going_on():
            if "workers" in plan.only:
                workers(site, caller, results, report)
        with results.going_on("scale_cost_ratio"):
            if "growth" in plan.only:
                growth(site, caller, results, plan, report)


def _peers(site: Site, office: Office, caller: Job, results: Results, report: Report) -> None:
    plan = results.plan
    if not set(plan.only) & set(PEERS):
        return
    with site.more_jobs() as jobs:
        found = Peers(site, office, caller, plan, jobs)
        results.take_samples(take_turns(found.targets.values(), caller, plan, report))
    results.raw["answer_bytes"] = found.answer_bytes
    if "envoy_authz" in found.missing:
        results.reasons["cpu_vs_envoy_ext_authz"] = found.missing["envoy_authz"]


def _streams(site: Site, office: Office, caller: Job, results: Results, report: Report) -> None:
    plan = results.plan
    asked = Streams(site, office, caller, plan)
    with results.going_on("batch_subjects_per_s"):
        if "batch" in plan.only:
            streams.batch(asked, results, plan, report)
    with results.going_on("stream_rows_per_s", "stream_vs_direct"):
        if "stream" in plan.only:
            streams.stream(asked, results, plan, report)
    with results.going_on("stream_peak_mib"):
        if "memory" in plan.only:
            # What it holds from the measurements before is no part of a stream; `raw.memory` tells it apart.
            used = resident_bytes([office.pid])
            site.close(office)
            site.reopen(office)
            fresh = Streams(site, office, caller, plan)
            streams.memory(fresh, office.pid, results, plan, report)
            results.raw.setdefault("memory", {})["of_the_gateway_before_mib"] = round(used / (1 << 20), 1)
