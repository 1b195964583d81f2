"""A gateway with two worker processes, on one port and one ledger, against one with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.bench import seed, town
from tests.bench.load import Target, measure, query_target
from tests.bench.processes import Job
from tests.bench.results import Results
from tests.bench.site import Site
from tests.bench.stats import Sample, paired

Report = Callable[[str], None]
_CHANNELS: Final = 8
"""Connections of the callers: the kernel shares them out among the processes that listen on the port."""
_CALLERS: Final = 128


def workers(site: Site, caller: Job, results: Results, report: Report) -> None:
    """Compares throughput and CPU for each Query at 128 callers over eight connections."""
    plan = results.plan
    samples: dict[int, list[Sample]] = {1: [], 2: []}
    for count, found in samples.items():
        report(f"workers: {count}")
        office = site.open_office(f"workers-{count}", workers=count)
        seed.add_consents(office.shared, consents=plan.subjects, contracts=1)
        ask = {"contract": town.CONSENTED, "subjects": plan.subjects}
        target = query_target(site, office, ask, title=f"Isthmus, {count} workers", channels=_CHANNELS)
        found += [_sample(caller, target, results) for _ in range(plan.rounds)]
        site.close(office)
    per_second = {count: [each.throughput for each in found] for count, found in samples.items()}
    results.spreads["two_workers_throughput_ratio"] = paired(per_second[2], per_second[1])
    results.raw["workers"] = {
        str(count): [each.document() for each in found] for count, found in samples.items()
    }


def _sample(caller: Job, target: Target, results: Results) -> Sample:
    plan = results.plan
    return measure(caller, target, callers=_CALLERS, seconds=plan.seconds, warm=plan.warm).sample
