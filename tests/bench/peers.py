"""The gateway and its peers, asked the same in turns: one Query each, at every number of callers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from isthmus.demo.parties import GATEWAY
from isthmus.demo.processes import free_addresses
from tests.bench import envoy, town
from tests.bench.load import Target, measure, query_target
from tests.bench.plan import PEERS, Plan
from tests.bench.processes import Job, Jobs
from tests.bench.questions import FETCH_PATH, QUERY_PATH
from tests.bench.site import NODE, Office, Site
from tests.bench.stats import Sample

Report = Callable[[str], None]
Samples = dict[str, dict[int, list[Sample]]]

TITLES: Final = {
    "direct": "(a) direct call to the node",
    "proxy": "(b) grpc.aio proxy, does nothing",
    "proxy_node": "(b') the same, before the node",
    "envoy": "(c) Envoy, mTLS proxy",
    "envoy_authz": "(d) Envoy + ext_authz, Cedar",
    "gateway": "Isthmus Query, by consent",
    "statute": "Isthmus Query, by law",
}
COSTS: Final = {
    "direct": ("node",),
    "proxy": ("proxy",),
    "proxy_node": ("proxy",),
    "envoy": ("envoy",),
    "envoy_authz": ("envoy", "authorizer"),
    "gateway": ("gateway",),
    "statute": ("gateway",),
}
"""The processes whose CPU is the cost of a peer; what every peer needs behind it is measured and not counted."""


class Peers:
    """Starts what is to be measured.

    Args:
        site: where.
        office: the gateway.
        caller: asks the gateway for the answer that the other peers then give.
        plan: what is measured.
        jobs: starts the peers' processes, and ends them when they are no longer needed.
    """

    def __init__(self, site: Site, office: Office, caller: Job, plan: Plan, jobs: Jobs) -> None:
        self._site = site
        self._jobs = jobs
        self._office = office
        self._plan = plan
        self._node = {"node": site.node.process.pid}
        self.targets: dict[str, Target] = {}
        self.missing: dict[str, str] = {}
        self.answer_bytes = 0
        for key in ("gateway", "statute", "direct"):
            self.targets[key] = self._isthmus(key)
        self._start_peers(self._an_answer(caller))
        self.targets = {key: self.targets[key] for key in PEERS if key in plan.only and key in self.targets}

    def _isthmus(self, key: str) -> Target:
        if key == "direct":
            return self._fetch(key, self._site.node_address, NODE, cost=self._node)
        contract = town.STATUTORY if key == "statute" else town.CONSENTED
        ask = {"contract": contract, "subjects": self._plan.subjects}
        return query_target(self._site, self._office, ask, key=key, title=TITLES[key])

    def _query(self, key: str, address: str, who: str, **processes: dict[str, int]) -> Target:
        return self._target(
            key,
            address,
            who,
            credentials=self._site.files(town.SYSTEM),
            path=QUERY_PATH,
            kind="query",
            ask={"contract": town.CONSENTED, "subjects": self._plan.subjects},
            **processes,
        )

    def _fetch(self, key: str, address: str, who: str, **processes: dict[str, int]) -> Target:
        ask = self._office.terms[town.CONSENTED].ask() | {"subjects": self._plan.subjects}
        return self._target(
            key,
            address,
            who,
            credentials=self._site.files(GATEWAY),
            path=FETCH_PATH,
            kind="fetch",
            ask=ask,
            **processes,
        )

    def _target(self, key: str, address: str, who: str, **members: Any) -> Target:
        name = self._site.name(who)
        return Target(key=key, title=TITLES[key], address=address, server_name=name, **members)

    def _an_answer(self, caller: Job) -> bytes:
        target = self.targets["gateway"]
        answered = measure(caller, target, callers=1, seconds=0.05, warm=0.05, keep_answer=True)
        self.answer_bytes = len(answered.answer)
        return answered.answer

    def _start_peers(self, answer: bytes) -> None:
        wanted = set(self._plan.only)
        if "proxy_node" in wanted:
            self._start_proxy("proxy_node", self._site.node_address, self._node)
        if not wanted & {"proxy", "envoy", "envoy_authz"}:
            return
        (address,) = free_addresses(1)
        settings = {"address": address, "credentials": self._site.files(NODE), "answer": answer.hex()}
        upstream = self._jobs.start("tests.bench.upstream", settings)
        behind = {"upstream": upstream.pid}
        if "proxy" in wanted:
            self._start_proxy("proxy", address, behind)
        for key in ("envoy", "envoy_authz"):
            if key in wanted and envoy.binary() is None:
                self.missing[key] = "Envoy is not installed; `make bench` installs it"
            elif key in wanted:
                self._start_envoy(key, address, behind)

    def _front(self, upstream: str) -> dict[str, Any]:
        (address,) = free_addresses(1)
        return {
            "address": address,
            "credentials": self._site.files(GATEWAY),
            "upstream": upstream,
            "upstream_name": self._site.name(NODE),
        }

    def _start_proxy(self, key: str, upstream: str, behind: dict[str, int]) -> None:
        settings = self._front(upstream)
        proxy = self._jobs.start("tests.bench.proxy", settings)
        make = self._fetch if key == "proxy_node" else self._query
        self.targets[key] = make(key, settings["address"], GATEWAY, cost={"proxy": proxy.pid}, behind=behind)

    def _start_envoy(self, key: str, upstream: str, behind: dict[str, int]) -> None:
        settings = self._front(upstream)
        settings |= {"authorizer": "", "file": str(self._site.folder / f"{key}.json")}
        cost = {}
        if key == "envoy_authz":
            (settings["authorizer"],) = free_addresses(1)
            terms = self._office.terms[town.CONSENTED]
            policy = {
                "address": settings["authorizer"],
                "version": terms.version,
                "terms_digest": terms.terms_digest,
            }
            cost["authorizer"] = self._jobs.start("tests.bench.authorizer", policy).pid
        cost["envoy"] = self._jobs.start("tests.bench.envoy", settings).pid
        self.targets[key] = self._query(key, settings["address"], GATEWAY, cost=cost, behind=behind)


def take_turns(peers: Iterable[Target], caller: Job, plan: Plan, report: Report) -> Samples:
    """Measures every target at every number of callers, round after round, each in its turn.

    Raises:
        BenchError: a target refuses anything.
    """
    samples: Samples = {}
    for turn in range(plan.rounds):
        for callers in plan.callers:
            for target in peers:
                report(f"round {turn + 1} of {plan.rounds}: {target.title}, {callers} callers")
                found = measure(caller, target, callers=callers, seconds=plan.seconds, warm=plan.warm).sample
                samples.setdefault(target.key, {}).setdefault(callers, []).append(found)
    return samples
