"""One peer under one load: the callers in a process of their own, CPU of every process involved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.demo.parties import GATEWAY
from tests.bench import town
from tests.bench.processes import BenchError, Job, cpu_seconds
from tests.bench.questions import QUERY_PATH
from tests.bench.site import Office, Site
from tests.bench.stats import Sample, percentile


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that is called.

    Attributes:
        key: its name in bench.json.
        title: its name for people.
        address: where it is.
        server_name: the name in its certificate.
        credentials: certificate, key and authority files of the caller.
        path: the gRPC method.
        kind: `query` or `fetch`, see `tests.bench.caller`.
        ask: what is asked.
        channels: connections that the callers share.
        cost: the processes, by what they are, whose CPU this peer costs.
        behind: further processes that are measured, and that every peer needs.
    """

    key: str
    title: str
    address: str
    server_name: str
    credentials: list[str]
    path: str
    kind: str
    ask: Mapping[str, Any]
    cost: Mapping[str, int]
    behind: Mapping[str, int] = field(default_factory=dict)
    channels: int = 1

    def command(self) -> dict[str, Any]:
        """What the callers need to know."""
        return {
            "address": self.address,
            "server_name": self.server_name,
            "credentials": self.credentials,
            "path": self.path,
            "kind": self.kind,
            "ask": dict(self.ask),
            "channels": self.channels,
        }


def query_target(
    site: Site, office: Office, ask: Mapping[str, Any], *, key: str = "gateway", title: str, channels: int = 1
) -> Target:
    """Queries of a gateway; all of its workers are its cost."""
    return Target(
        key=key,
        title=title,
        address=office.address,
        server_name=site.name(GATEWAY),
        credentials=site.files(town.SYSTEM),
        path=QUERY_PATH,
        kind="query",
        ask=ask,
        cost={"gateway": office.pid},
        behind={"node": site.node.process.pid},
        channels=channels,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A sample, and the last answer's bytes when they were asked for."""

    sample: Sample
    answer: bytes


def measure(
    caller: Job, target: Target, *, callers: int, seconds: float, warm: float, keep_answer: bool = False
) -> Answered:
    """Warms a target up and measures it.

    Raises:
        BenchError: a call was refused, or none was answered; the message ends with what was said.
    """
    load = {"op": "load", "callers": callers, "seconds": seconds, "warm": warm, "keep_answer": keep_answer}
    caller.tell(target.command() | load)
    caller.hear()
    pids = {**target.cost, **target.behind}
    before = {name: cpu_seconds([pid]) for name, pid in pids.items()}
    caller.tell({"go": True})
    result = caller.hear()
    cpu = {name: cpu_seconds([pid]) - before[name] for name, pid in pids.items()}
    latencies = result["latencies"]
    if result["errors"] or not latencies:
        raise BenchError(f"{target.title} at {callers} callers: {result['errors']} {result['last_words']}")
    sample = Sample(
        calls=len(latencies),
        elapsed=result["elapsed"],
        p50=percentile(latencies, 0.50) * 1e3,
        p99=percentile(latencies, 0.99) * 1e3,
        cpu=cpu,
        caller_cpu=result["cpu"],
    )
    return Answered(sample=sample, answer=bytes.fromhex(result["answer"]))
