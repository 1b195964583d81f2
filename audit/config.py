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
"""

from dataclasses import dataclass, field
from pathlib import Path

from isthmus.subjects import normaliser


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
        commit_timeout_s: how long a transaction may take.
    """

    url: str
    log_key: Path
    pin: Path | None = None
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
class AuditConfig:
    """All of `audit.toml`."""

    server: ServerSettings
    ledger: LedgerSettings
    subjects: SubjectSettings
    metrics: MetricsSettings | None = None
