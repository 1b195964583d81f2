"""How long and how much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.bench.town import FEW_CONTRACTS, FEW_PEOPLE

PEERS: Final = ("direct", "proxy", "proxy_node", "envoy", "envoy_authz", "gateway", "statute")
SCENARIOS: Final = ("batch", "stream", "memory", "growth", "workers", "profile")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How much a ledger holds, and how many people there are to ask about."""

    consents: int
    contracts: int
    records: int

    @property
    def words(self) -> str:
        """The same for people."""
        return f"{self.consents:,} consents, {self.contracts:,} contracts, {self.records:,} records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan of one run.

    Attributes:
        quick: whether this is `make bench-quick`: less of everything, so its figures are only a hint.
        only: what is measured, of PEERS and SCENARIOS.
        callers: how many ask at once.
        rounds: how often everything is measured, in turns.
        seconds: of each measurement.
        warm: seconds of warming up before each.
        subjects: people with a consent, and asked about.
        rows: residents of the department, and rows of a stream.
        batch: subjects of a BatchQuery.
        stream_bytes: how much passes through while the memory of a gateway is watched, at most.
        stream_seconds: and for how long, at most.
        small, large: the states whose cost is compared.
    """

    quick: bool
    only: tuple[str, ...]
    callers: tuple[int, ...]
    rounds: int
    seconds: float
    warm: float
    subjects: int
    rows: int
    batch: int
    stream_bytes: int
    stream_seconds: float
    small: State
    large: State


_SMALL: Final = State(consents=FEW_PEOPLE, contracts=FEW_CONTRACTS, records=1_000)

FULL: Final = Plan(
    quick=False,
    only=(*PEERS, *SCENARIOS),
    callers=(1, 32, 128),
    rounds=5,
    seconds=4.0,
    warm=1.0,
    subjects=10_000,
    rows=1_000_000,
    batch=1_000,
    stream_bytes=10 << 30,
    stream_seconds=300.0,
    small=_SMALL,
    large=State(consents=1_000_000, contracts=10_000, records=5_000_000),
)

QUICK: Final = Plan(
    quick=True,
    only=(*PEERS, *(name for name in SCENARIOS if name not in ("workers", "profile"))),
    callers=(1, 32, 128),
    rounds=1,
    seconds=0.5,
    warm=0.25,
    subjects=2_000,
    rows=50_000,
    batch=1_000,
    stream_bytes=100 << 20,
    stream_seconds=3.0,
    small=_SMALL,
    large=State(consents=5_000, contracts=500, records=20_000),
)
