"""What a Query costs when the state has grown: two gateways, a small ledger and a large one, asked in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from tests.bench import seed, town
from tests.bench.load import Target, measure, query_target
from tests.bench.plan import Plan, State
from tests.bench.processes import Job
from tests.bench.results import CALLERS, Results
from tests.bench.site import Office, Site
from tests.bench.stats import Sample, paired

Report = Callable[[str], None]
_ROUNDS_AT_LEAST: Final = 2

_SPREAD, _SAME = "spread", "same"
"""What is asked: about anybody under any contract of the state, or the same few questions in both states."""


def growth(site: Site, caller: Job, results: Results, plan: Plan, report: Report) -> None:
    """Compares CPU for each Query at 32 callers.

    The headline asks about people and contracts all over the state, as far as the department knows so many people. The
    second figure asks the questions of the small state in both of them, so that nothing but the size differs.
    """
    offices = {
        name: _office(site, name, state, report)
        for name, state in (("small", plan.small), ("large", plan.large))
    }
    targets = {
        (name, how): _target(site, office, people, getattr(plan, name).contracts)
        for name, office in offices.items()
        for how, people in ((_SPREAD, getattr(plan, name).consents), (_SAME, plan.small.consents))
    }
    samples: dict[tuple[str, str], list[Sample]] = {key: [] for key in targets}
    rounds = max(plan.rounds, _ROUNDS_AT_LEAST)
    for turn in range(rounds):
        for key, target in targets.items():
            report(f"growth, round {turn + 1} of {rounds}: {' state, '.join(key)} questions")
            found = measure(caller, target, callers=CALLERS, seconds=plan.seconds, warm=plan.warm).sample
            samples[key].append(found)
    for office in offices.values():
        site.close(office)
    _take(samples, results, plan)


def _take(samples: dict[tuple[str, str], list[Sample]], results: Results, plan: Plan) -> None:
    cpu = {key: [each.cpu_us(["gateway"]) for each in found] for key, found in samples.items()}
    results.spreads["scale_cost_ratio"] = paired(cpu["large", _SPREAD], cpu["small", _SPREAD])
    results.spreads["scale_cost_ratio_same_questions"] = paired(cpu["large", _SAME], cpu["small", _SAME])
    results.raw["growth"] = {
        "small": asdict(plan.small),
        "large": asdict(plan.large),
        **{f"{name}_{how}": [each.document() for each in found] for (name, how), found in samples.items()},
    }


def _office(site: Site, name: str, state: State, report: Report) -> Office:
    report(f"growth: making the {name} state, {state.consents:,} consents, {state.records:,} records")
    office = site.open_office(name)
    site.close(office)
    seed.add_consents(office.shared, consents=state.consents, contracts=state.contracts)
    pin = office.folder / "gateway.pin"
    seed.add_records(office.shared, pin, records=state.records, people=state.consents, report=report)
    site.reopen(office)
    return office


def _target(site: Site, office: Office, people: int, contracts: int) -> Target:
    ask = {"contract": town.CONSENTED, "subjects": min(people, site.rows), "contracts": contracts}
    return query_target(site, office, ask, title="Isthmus Query")
