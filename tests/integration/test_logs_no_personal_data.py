"""After everything that goes wrong with people's data, no log of gateway, node or audit service says a word about anybody.

The three are processes of their own, started as an operator starts them and with every line that they can write: what is
searched is all that they wrote, the lines of libraries and of the runtime included.
"""

from __future__ import annotations

import io
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from gateway.watch.log import LINES_A_SECOND
from isthmus.client import traced
from isthmus.errors import IsthmusError, Reason
from isthmus.log import configure
from isthmus.v1.department_service_pb2 import FetchRequest, FetchResponse
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.integration import exchange_world
from tests.integration.batch_calls import batch, resident
from tests.integration.exchange_nodes import LyingNode, standing_in
from tests.integration.exchange_parties import (
    AUDITOR,
    CONTRACT,
    MANIFEST,
    OPERATOR,
    PURPOSE,
    REGISTRY,
    RESIDENT,
    STRANGER,
    SYSTEM,
    query,
)
from tests.integration.exchange_world import World, world_in
from tests.integration.site_processes import Process, Site
from tests.integration.stream_world import CASE, client

pytestmark = pytest.mark.integration

WHY = "昏迷病人张三丰急救，须核实优抚身份"
NAMES = ("王小明", "居民", "不外传", "张三丰", "昏迷")
TRACE = "0af7651916cd43dd8448eb211c80319c"
EVERYTHING: dict[str, Any] = {
    "modes": ["QUERY", "VERIFY", "BATCH", "STREAM"],
    "fields": [{"name": name, "transform": "plain"} for name in ("姓名", "income", "city")],
    "break_glass": {"allowed": True, "systems": [SYSTEM.resource], "review_within_hours": 24},
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "hash.key").write_text("5a" * 32)
    with_key = MANIFEST.replace("[server]\n", '[server]\nhash_key = "hash.key"\n')
    monkeypatch.setattr(exchange_world, "MANIFEST", with_key)
    with world_in(tmp_path) as world, ExitStack() as stack:
        yield Site(world, world.agree(**EVERYTHING), stack)


def refusal(do: Callable[[], Any]) -> IsthmusError:
    with pytest.raises(IsthmusError) as refused:
        do()
    return refused.value


def people_in(text: str) -> list[str]:
    """What a text says about the people of the registry, or about whoever was asked for."""
    found = [each for each in (RESIDENT, STRANGER, RESIDENT[:16], *NAMES) if each in text]
    found += re.findall(r"1101011990030\d{5}", text)
    return found + re.findall(r"(?<!\d)5200(?!\d)", text)


def test_no_process_logs_anything_about_anybody(site: Site) -> None:
    world = site.world
    contract = site.contract
    consent = world.consent(contract, fields=("姓名", "income", "city"))
    with traced(f"00-{TRACE}-b7ad6b7169203331-01"), site.sdk() as sdk:
        asked: dict[str, Any] = {"contract": CONTRACT, "purpose": PURPOSE, "fields": ["姓名", "income"]}
        subject = ("cn.resident-id", RESIDENT)
        assert next(iter(sdk.exchange.query(**asked, subject=subject).rows))["姓名"] == "王小明"
        denied = refusal(lambda: sdk.exchange.query(**asked, subject=("cn.resident-id", STRANGER)))
    line = site.gateway.said("exchange denied", exchange=denied.exchange)
    assert (line["trace_id"], line["decision"], line["reasons"]) == (TRACE, "DENY", ["CONSENT_MISSING"])
    assert line["consumer"] == "departments/veterans" and line["level"] == "info"

    in_the_question(world)
    batches(world)
    emergencies(world)
    a_broken_database(site)
    vetoed_streams(site)
    auditing(site)

    world.withdraw(consent)
    withdrawn = refusal(world.query)
    assert site.gateway.said("exchange denied", exchange=withdrawn.exchange)["reasons"] == [
        "CONSENT_WITHDRAWN"
    ]
    world.consent(contract, fields=("姓名", "income", "city"))
    a_node_that_talks(site)

    slow = site.gateway.said("exchange slow")
    assert slow["seconds"] >= 0 and slow["stage"] in ("admit", "fetch", "release") and slow["trace_id"]
    for process in (site.gateway, site.department, site.audit):
        process.end()
    everything = site.everything()
    assert people_in(everything) == []
    assert "Traceback" not in everything


def in_the_question(world: World) -> None:
    """An identifier, or a name, in every place where a caller may write something."""
    for changes in (
        {"contract": f"contracts/c-{RESIDENT}"},
        {"contract": "contracts/王小明"},
        {"purpose": f"核验王小明 {RESIDENT}"},
        {"case": f"王小明 {RESIDENT}"},
        {"case": "王小明案"},
        {"fields": [RESIDENT]},
        {"fields": ["王小明"]},
        {"scheme": f"cn.{RESIDENT}"},
        {"resident": "王小明\n"},
        {"resident": ""},
        {"emergency": f"{RESIDENT} 昏迷"},
    ):
        with suppress(IsthmusError):
            world.query(**changes)
    metadata = (("traceparent", f"00-{RESIDENT:a>32}-{RESIDENT[:16]}-01"), ("x-subject", RESIDENT))
    stub = ExchangeServiceStub(world.channel(SYSTEM))
    with suppress(grpc.RpcError):
        stub.Query(query(fields=["city"], resident=RESIDENT), timeout=20, metadata=metadata)
    with suppress(grpc.RpcError):
        stub.Query(query(fields=["secret"], resident=RESIDENT), timeout=20, metadata=metadata)
    refusal(lambda: world.query(by=OPERATOR))
    raw = world.channel(SYSTEM).unary_unary("/isthmus.v1.ExchangeService/Query", bytes, bytes)
    with suppress(grpc.RpcError):
        raw(b"\xff" + f"{RESIDENT}王小明".encode(), timeout=20)


def batches(world: World) -> None:
    refusal(lambda: batch(world, [resident(n % 300) for n in range(10_001)]))
    refusal(lambda: batch(world, [f"{resident(n % 300)}{'王小明' * 60}" for n in range(9_000)]))
    with suppress(IsthmusError):
        batch(world, [RESIDENT, *(resident(n) for n in range(20))])


def emergencies(world: World) -> None:
    assert world.query(resident=resident(5), emergency=WHY).subject_known
    refusal(lambda: world.query(resident=resident(5), emergency=f"{resident(5)} 昏迷"))


def a_broken_database(site: Site) -> None:
    """SQLAlchemy's own message holds the statement and its parameters."""
    world, people = site.world, site.world.folder / "people.db"
    with sqlite3.connect(people) as database:
        database.execute("ALTER TABLE 人口 RENAME TO 不外传")
    failed = refusal(world.query)
    with sqlite3.connect(people) as database:
        database.execute("ALTER TABLE 不外传 RENAME TO 人口")
        database.execute("UPDATE 人口 SET 收入 = '王小明没有收入' WHERE 身份证号 = ?", (RESIDENT,))
    unfit = refusal(world.query)
    with sqlite3.connect(people) as database:
        database.execute("UPDATE 人口 SET 收入 = 5200 WHERE 身份证号 = ?", (RESIDENT,))
    line = site.gateway.said("exchange failed", exchange=failed.exchange)
    assert line["level"] == "warning" and line["reasons"] == ["DEPARTMENT_UNAVAILABLE"]
    told = site.department.said("grant not served", exchanges=[failed.exchange])
    assert told["reason"] == "DEPARTMENT_UNAVAILABLE"
    assert site.department.said("exchanges refused", exchanges=[unfit.exchange])["reasons"] == [
        "PROVIDER_VETO"
    ]


def vetoed_streams(site: Site) -> None:
    with site.sdk() as sdk:
        asked: dict[str, Any] = {
            "contract": CONTRACT,
            "purpose": PURPOSE,
            "fields": ["姓名"],
            "case_reference": CASE,
        }
        with suppress(IsthmusError):
            list(sdk.exchange.stream(**asked))
        with suppress(IsthmusError):
            list(sdk.exchange.stream(**asked, filters=[("姓名", "=", "王小明")], resume_token=RESIDENT))


def auditing(site: Site) -> None:
    port = site.audit.port
    with site.sdk(AUDITOR, "audit/main", port) as auditor:
        assert list(
            auditor.audit.records(subject=("cn.resident-id", RESIDENT), reason=f"查王小明 {RESIDENT}")
        )
        with suppress(IsthmusError):
            list(auditor.audit.records(f'purpose = "王小明 {RESIDENT}" AND', reason="查"))
        with suppress(IsthmusError):
            list(auditor.audit.accesses(("cn.王小明", RESIDENT), reason="王小明"))
    with site.sdk(SYSTEM, "audit/main", port) as nobody:
        refusal(lambda: list(nobody.audit.accesses(("cn.resident-id", RESIDENT), reason="王小明")))


class Talking(LyingNode):
    """A node whose errors, explanations and faults quote the person."""

    def __init__(self, world: World) -> None:
        super().__init__(world, lambda *_: None)
        self.turn = 0

    def Fetch(self, request: FetchRequest, context: grpc.ServicerContext) -> FetchResponse:
        self.turn += 1
        words = f"{RESIDENT} 王小明 收入 5200"
        if self.turn == 1:
            raise RuntimeError(words)
        if self.turn == 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, words)
        if self.turn == 3:
            raise IsthmusError(Reason.DEPARTMENT_UNAVAILABLE, words)
        response = super().Fetch(request, context)
        response.outcomes[0].explanation = words
        response.outcomes[0].refused = Reason.PROVIDER_VETO.value  # type: ignore[assignment]
        return response


def a_node_that_talks(site: Site) -> None:
    """It is served by this process with the server kit, so that the kit's own line about a fault is searched too."""
    own = io.StringIO()
    configure(level="DEBUG", stream=own)
    node, world = Talking(site.world), site.world
    with _standing_in(node, site) as gateway:
        reasons = []
        for _ in range(5):
            error = refusal(world.query)
            reasons.append(error.reason)
            line = gateway.said("exchange failed", exchange=error.exchange)
            assert line["provider"] == f"departments/{REGISTRY}"
    assert node.turn == 5 and Reason.DEPARTMENT_UNAVAILABLE in reasons
    faults = [json.loads(each) for each in own.getvalue().splitlines() if "unforeseen fault" in each]
    assert [each["exception"] for each in faults] == [
        "RuntimeError",
        "Exception",
    ]  # the second is gRPC's own, of `abort`
    assert people_in(own.getvalue()) == []


@contextmanager
def _standing_in(node: LyingNode, site: Site) -> Iterator[Process]:
    started: list[Process] = []

    def use(port: int) -> None:
        started.append(site.gateway_for(port))

    world = SimpleNamespace(credentials=site.world.credentials, use_node=use)
    with standing_in(node, world):  # type: ignore[arg-type]
        yield started[0]


def test_a_flood_of_denials_fills_no_disk_and_says_how_much_it_left_out(tmp_path: Path) -> None:
    """Every one of them has its record all the same."""
    own = io.StringIO()
    configure(stream=own)
    with world_in(tmp_path) as world:
        world.agree()
        with client(world, world.folder) as sdk:
            asked: dict[str, Any] = {"contract": CONTRACT, "purpose": PURPOSE, "fields": ["income"]}
            log: Any = world.gateway._watch.observers._tellers[0]
            log._clock = lambda: 7.0
            for _ in range(LINES_A_SECOND + 5):
                refusal(lambda: sdk.exchange.query(**asked, subject=("cn.resident-id", STRANGER)))
            log._clock = lambda: 8.0
            refusal(lambda: sdk.exchange.query(**asked, subject=("cn.resident-id", STRANGER)))
        assert len(world.decisions()) == LINES_A_SECOND + 6
    lines = [json.loads(each) for each in own.getvalue().splitlines()]
    denials = [each for each in lines if each["event"] == "exchange denied"]
    assert len(denials) == LINES_A_SECOND + 1
    assert [each.get("left_out") for each in denials[-2:]] == [None, 5]


def test_an_exchange_that_went_well_has_no_line(tmp_path: Path) -> None:
    own = io.StringIO()
    configure(level="DEBUG", stream=own)
    with world_in(tmp_path) as world:
        world.agree(legal_basis="PUBLIC_TASK")
        world.query(case=CASE)
        assert world.sole_decision().decision == "ALLOW"
        exchange = world.sole_decision().exchange
    assert own.getvalue() and exchange not in own.getvalue()
