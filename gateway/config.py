"""The gateway's configuration, `gateway.toml`; deploy/gateway.toml shows and explains every key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from gateway.departments import Node
from gateway.exchange.train import TrainLimits
from gateway.independence import IndependenceSection
from gateway.rulebook import DEFAULT_PACK
from isthmus.config import ConfigError, load
from isthmus.identity import SLUG, Identity, Role, require_trust_domain
from isthmus.tracing import ENDPOINT_VARIABLE, TracingSettings

_SQLITE: Final = "sqlite:///"
_MAX_OFFSET: Final = 14 * 60
_MAX_WORKERS: Final = 64
_MAX_THREADS: Final = 4096
_MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSection:
    """Where the gateway listens and who it is; the three files are PEM. There are `workers` processes, each of which
    works on so many calls at once as it has `threads`; see `gateway.workers`.
    """

    address: str
    trust_domain: str
    certificate: Path
    key: Path
    ca: Path
    workers: int = 1
    processors: tuple[int, ...] = ()
    threads: int = 256
    max_concurrent: int = 1024
    reuse_port: bool = False
    grace_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= _MAX_WORKERS:
            raise ValueError(
                f"workers is the number of gateway processes, from 1 to {_MAX_WORKERS}; how many calls each of them "
                "works on at once is `threads`"
            )
        if not 1 <= self.threads <= _MAX_THREADS:
            raise ValueError(f"threads must be from 1 to {_MAX_THREADS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSection:
    """The ledger: its database, the key that signs its checkpoints, and where the newest one is pinned."""

    url: str
    log_key: Path
    pin: Path
    commit_timeout_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectsSection:
    """The keys of the subject tokens: a file for each epoch, and the epoch of new tokens."""

    keys: dict[str, Path]
    current: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSection:
    """Where Prometheus scrapes; port 0 takes a free one. Of several workers each serves on a port of its own."""

    host: str = "127.0.0.1"
    port: int = 9464

    def of_worker(self, number: int) -> "MetricsSection":
        """Where the worker of that number, counted from 0, serves."""
        return replace(self, port=self.port + number) if self.port else self


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySection:
    """The folder of added `*.cedar` files, and the deployment's offset from UTC for `hour` and `weekday`."""

    additions: Path | None = None
    utc_offset_minutes: int = 0
    remember: int = 16_384

    def __post_init__(self) -> None:
        if abs(self.utc_offset_minutes) > _MAX_OFFSET:
            raise ValueError(f"utc_offset_minutes must be from -{_MAX_OFFSET} to {_MAX_OFFSET}")

    @property
    def offset(self) -> timedelta:
        """The offset."""
        return timedelta(minutes=self.utc_offset_minutes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSection:
    """Bounds of an exchange; see `gateway.exchange.train.TrainLimits`. Of streams there run so many at once in all, and
    of one department; of batches so many for one department and to one, and twice as many in all. Each holds a thread.
    All of them count in each process for itself. An exchange that is `slow_seconds` in one stage is logged; 0: none is.
    """

    waiting: int = 192
    aboard: int = 128
    fetch_timeout_seconds: float = 10.0
    max_response_bytes: int = 64 << 20
    streams: int = 4
    streams_per_department: int = 2
    batches: int = 4
    slow_seconds: float = 5.0

    def __post_init__(self) -> None:
        counts = (
            self.waiting,
            self.aboard,
            self.max_response_bytes,
            self.streams,
            self.streams_per_department,
            self.batches,
        )
        if min(counts) < 1 or self.fetch_timeout_seconds <= 0:
            raise ValueError("every bound must be more than 0")
        if self.slow_seconds < 0:
            raise ValueError("slow_seconds must be more than 0, or 0 for never")

    def limits(self, threads: int) -> TrainLimits:
        """The limits of a train: never more than three quarters of the threads, so that one slow department cannot
        take them all from withdrawals and from other departments.
        """
        return TrainLimits(waiting=min(self.waiting, max(1, threads * 3 // 4)), aboard=self.aboard)


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesSection:
    """The rule pack that new cases begin under, and the deployment's own packs and calendars; the clerk's interval."""

    pack: str = DEFAULT_PACK
    folder: Path | None = None
    calendars: Path | None = None
    clerk_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.clerk_seconds <= 0:
            raise ValueError("clerk_seconds must be more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSection:
    """How many exchanges one system may begin here in a second; 0 for no limit. See `gateway.limits`."""

    exchanges_per_second: int = 0

    def __post_init__(self) -> None:
        if self.exchanges_per_second < 0:
            raise ValueError("exchanges_per_second must be 0, for no limit, or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartmentSection:
    """A department that takes part; `address` and `node` (the last part of its identity) if it runs a node."""

    title: str = ""
    address: str = ""
    node: str = ""

    def __post_init__(self) -> None:
        if bool(self.address) != bool(self.node):
            raise ValueError(
                "address and node belong together: where the node is, and which identity answers"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of it."""

    server: ServerSection
    ledger: LedgerSection
    subjects: SubjectsSection
    metrics: MetricsSection = field(default_factory=MetricsSection)
    policy: PolicySection = field(default_factory=PolicySection)
    exchange: ExchangeSection = field(default_factory=ExchangeSection)
    limits: LimitsSection = field(default_factory=LimitsSection)
    rules: RulesSection = field(default_factory=RulesSection)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    independence: IndependenceSection | None = None
    departments: dict[str, DepartmentSection] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_trust_domain(self.server.trust_domain)
        if self.metrics.of_worker(self.server.workers - 1).port > _MAX_PORT:
            raise ValueError(
                f"metrics.port must leave a port for each of the {self.server.workers} workers below {_MAX_PORT + 1}"
            )
        for name in self.departments:
            if not re.fullmatch(SLUG, name):
                raise ValueError(
                    f"departments.{name[:80]}: a department's name is lower-case letters, digits and -"
                )
        self.nodes()

    def nodes(self) -> dict[str, Node]:
        """The nodes by `departments/{department}`."""
        domain = self.server.trust_domain
        return {
            f"departments/{name}": Node(
                f"departments/{name}", each.address, Identity(domain, Role.NODE, name, each.node)
            )
            for name, each in self.departments.items()
            if each.node
        }


def load_config(path: Path, *, environ: Mapping[str, str]) -> Config:
    """Reads `gateway.toml`. A SQLite database that is named without a leading slash stands beside the file.

    Raises:
        ConfigError: the file cannot be read, or a key is missing, unknown or wrong; says which.
    """
    config = load(path, Config, environ=environ)
    try:
        config = replace(config, tracing=config.tracing.or_from(environ))
    except ValueError as error:
        raise ConfigError(ENDPOINT_VARIABLE, "", str(error)) from None
    database = config.ledger.url.removeprefix(_SQLITE)
    if config.ledger.url.startswith(_SQLITE) and not database.startswith("/"):
        url = f"{_SQLITE}{(path.parent / database).absolute()}"
        return replace(config, ledger=replace(config.ledger, url=url))
    return config
