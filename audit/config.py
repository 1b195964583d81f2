"""The audit service's configuration, `audit.toml`.

[server]
address = "0.0.0.0:8444"
trust_domain = "data.example"
certificate = "pki/audit.pem"
key = "pki/audit.key"
ca = "pki/ca.pem"

[ledger]
url = "sqlite:////var/lib/isthmus/ledger.db"
log_key = "secrets/log.key"
pin = "/var/lib/isthmus-pin/audit"

[subjects]
current = 1
keys = { 1 = "secrets/subjects-1.key" }
schemes = { "cn.resident-id" = ["strip", "upper"] }

[metrics]
port = 9102

[tiles]
address = "127.0.0.1:8446"
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from audit.http import check_url
from audit.reports.anomalies.limits import AnomalyLimits
from audit.tiles.address import split_address
from audit.tlog.cosignature import CosignerKey
from isthmus.identity import SLUG
from isthmus.subjects import normaliser
from isthmus.tracing import TracingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the service listens and who it is."""

    address: str
    trust_domain: str
    certificate: Path
    key: Path
    ca: Path
    threads: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 256:
            raise ValueError("threads must be 1 to 256")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """The ledger and the key that signs it; every process of one installation names the same.

    Attributes:
        url: `sqlite:///` and a path; an absolute one unless all processes share a working directory.
        log_key: the file of the signing key.
        pin: the file that keeps the newest checkpoint, outside the database's volume and backup.
        search_index: the file in which the audit service keeps what searches need; the database's path and `.search`
            unless given. It may be deleted at any time.
        commit_timeout_s: how long a transaction may take.
    """

    url: str
    log_key: Path
    pin: Path | None = None
    search_index: Path | None = None
    commit_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.commit_timeout_s <= 60:
            raise ValueError("commit_timeout_s must be above 0 and at most 60")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectSettings:
    """How a person is found: the keys of the tokens by epoch, and the normalisers of each identifier scheme, which
    must be those that the catalogue entries state.
    """

    current: int
    keys: dict[str, Path]
    schemes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for names in self.schemes.values():
            for name in names:
                normaliser(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where Prometheus finds the metrics; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 9102


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSettings:
    """Where the log is served as C2SP tiles over HTTP: checkpoint and hashes, to whoever reaches the address.

    Attributes:
        address: `host:port`; port 0 takes a free one.
        entries: whether the records themselves are served there too. They are those of all departments, so only
            on an address that nobody but auditors reaches.
    """

    address: str
    entries: bool = False

    def __post_init__(self) -> None:
        split_address(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessEntry:
    """A witness that is asked to cosign: what this deployment calls it, its vkey (type 0x04), and its address."""

    name: str
    vkey: str
    url: str

    def __post_init__(self) -> None:
        if not re.fullmatch(SLUG, self.name):
            raise ValueError("the name of a witness is lower-case letters, digits and -")
        CosignerKey.parse(self.vkey)
        check_url(self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessingSettings:
    """How witnesses are asked.

    Attributes:
        required: how many of them must cosign a checkpoint for it to count.
        interval_s: seconds between two rounds.
        timeout_s: how long one answer may take.
        ca: the authorities of `https` addresses (PEM); the machine's own unless given.
    """

    required: int = 1
    interval_s: float = 60.0
    timeout_s: float = 10.0
    ca: Path | None = None

    def __post_init__(self) -> None:
        if self.required < 1:
            raise ValueError("required must be at least 1")
        _check_pace(self.interval_s, self.timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampSettings:
    """The timestamp authority (RFC 3161).

    Attributes:
        authority: what this deployment calls it.
        url: where it takes requests.
        roots: the certificates that are trusted to vouch for it (PEM).
        interval_s: seconds between two timestamps.
        timeout_s: how long an answer may take.
        ca: the authorities of an `https` address (PEM); the machine's own unless given.
    """

    authority: str
    url: str
    roots: Path
    interval_s: float = 3600.0
    timeout_s: float = 10.0
    ca: Path | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(SLUG, self.authority):
            raise ValueError("the name of an authority is lower-case letters, digits and -")
        check_url(self.url)
        _check_pace(self.interval_s, self.timeout_s)


def _check_pace(interval_s: float, timeout_s: float) -> None:
    if not 0 < timeout_s <= 60:
        raise ValueError("timeout_s must be above 0 and at most 60")
    if not 0 < interval_s <= 86_400:
        raise ValueError("interval_s must be above 0 and at most 86400")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSettings:
    """What bundles of evidence enclose.

    Attributes:
        policies: folders with the Cedar schema and policies that gateways run with, or ran with; records name them by
            digest.
    """

    policies: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """How long use records must be kept whole, and the rule that says so; shown with every refusal and certificate."""

    minimum_years: int = 3
    citation: str = "《政务数据共享条例》（国务院令第809号）第二十九条"

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_years <= 100:
            raise ValueError("minimum_years must be 0 to 100")
        if not self.citation.strip() or not self.citation.isprintable() or len(self.citation) > 200:
            raise ValueError("citation must be 1 to 200 printable characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesSettings:
    """The deployment's own rule packs and calendars, as in `gateway.toml`: metrics say by them what is overdue.

    Attributes:
        folder: of rule packs.
        calendars: of working days.
    """

    folder: Path | None = None
    calendars: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """All of `audit.toml`."""

    server: ServerSettings
    ledger: LedgerSettings
    subjects: SubjectSettings
    metrics: MetricsSettings | None = None
    tiles: TileSettings | None = None
    witnesses: tuple[WitnessEntry, ...] = ()
    witnessing: WitnessingSettings = field(default_factory=WitnessingSettings)
    timestamps: TimestampSettings | None = None
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    anomalies: AnomalyLimits = field(default_factory=AnomalyLimits)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    rules: RulesSettings = field(default_factory=RulesSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)

    def __post_init__(self) -> None:
        names = {each.name for each in self.witnesses}
        keys = {CosignerKey.parse(each.vkey).public_key for each in self.witnesses}
        if min(len(names), len(keys)) != len(self.witnesses):
            raise ValueError("each of the witnesses has a name and a key of its own")
        if self.witnesses and self.witnessing.required > len(self.witnesses):
            raise ValueError(
                f"witnessing.required is {self.witnessing.required}, and there are {len(self.witnesses)} witnesses"
            )
