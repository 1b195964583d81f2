"""The stage: certificates, databases, configuration files and running processes of a scenario."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from audit.keys import load_log_key
from audit.ledger import Ledger
from gateway.denylist import deny_certificate
from gateway.state.schema import METADATA
from isthmus.demo import configs
from isthmus.demo.configs import Secrets
from isthmus.demo.parties import AUDIT, GATEWAY, OPERATOR, Parties, node
from isthmus.demo.processes import Child, Children, free_addresses
from isthmus.demo.scenario import Department, Scenario
from isthmus.v1.catalog_service_pb2 import Dataset
from services.csv_load import LoadOptions, load_csv
from services.manifest import Manifest
from services.manifest_file import load_manifest

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage that is set: nothing runs yet.

    Args:
        folder: where everything is.
        parties: who issues certificates.
        shared: the ledger and its keys.
        manifests: of each department, by slug.
        addresses: where each server will listen, by its identity path.
        files: the configuration file of each server, by its identity path.
    """

    folder: Path
    parties: Parties
    shared: Secrets
    manifests: Mapping[str, Manifest]
    addresses: Mapping[str, str]
    files: Mapping[str, Path]

    @property
    def gateway(self) -> str:
        """The gateway's address."""
        return self.addresses[GATEWAY]

    @property
    def audit(self) -> str:
        """The audit service's address."""
        return self.addresses[AUDIT]

    @property
    def pin(self) -> Path:
        """Where the gateway keeps the last checkpoint outside the ledger."""
        return self.folder / "gateway.pin"

    @property
    def audit_pin(self) -> Path:
        """Where the audit service keeps it."""
        return self.folder / "audit.pin"

    def deny(self, thumbprint: str, reason: str) -> None:
        """The operator denies a certificate, as `isthmus gateway deny-certificate` does: in the ledger itself.

        Raises:
            IsthmusError: the ledger cannot be written.
        """
        ledger = Ledger.open(
            f"sqlite:///{self.shared.ledger}",
            log_key=load_log_key(self.shared.log_key),
            pin=self.pin,
            clock=lambda: datetime.now(UTC),
            metadata=[METADATA],
        )
        try:
            deny_certificate(ledger, thumbprint, reason, self.parties.identity(OPERATOR))
        finally:
            ledger.close()

    def datasets(self) -> list[tuple[str, Dataset]]:
        """Every dataset of every manifest, with the department it belongs to."""
        return [(name, each) for name, one in self.manifests.items() for each in one.datasets_proto()]


def set_stage(scenario: Scenario, folder: Path) -> Stage:
    """Makes certificates and keys, and writes every configuration.

    Raises:
        ManifestError: a manifest cannot be used.
    """
    parties = Parties(folder / "pki")
    names = [department.name for department in scenario.departments]
    servers = [GATEWAY, AUDIT, *map(node, names)]
    addresses = dict(zip(servers, free_addresses(len(servers)), strict=True))
    shared, nodes = Secrets.make(folder), {name: addresses[node(name)] for name in names}
    files = {
        AUDIT: configs.audit_file(folder, shared, scenario.departments, parties, addresses[AUDIT]),
        GATEWAY: configs.gateway_file(folder, shared, nodes, parties, addresses[GATEWAY]),
    }
    manifests = {}
    for department in scenario.departments:
        path = _department(folder, department, parties, nodes[department.name])
        files[node(department.name)] = path
        manifests[department.name] = load_manifest(path, environ={})
    return Stage(
        folder=folder,
        parties=parties,
        shared=shared,
        manifests=manifests,
        addresses=addresses,
        files=files,
    )


def _department(folder: Path, department: Department, parties: Parties, address: str) -> Path:
    own = folder / department.name
    own.mkdir(mode=0o700)
    return configs.department_file(own, department, parties, address)


def _load(folder: Path, department: Department, manifest: Manifest) -> None:
    """Loads the CSV files as `isthmus dataset load` does, then makes the department's own views."""
    tables = {path.stem for path in department.files}
    indexes = {(each.table, each.subject.column) for each in manifest.datasets if each.table in tables}
    options = LoadOptions(indexes=tuple(sorted(indexes)))
    load_csv(department.files, f"sqlite:///{folder / 'data.db'}", options)
    if department.views:
        with closing(sqlite3.connect(folder / "data.db")) as connection, connection:
            for view in department.views:
                connection.execute(view)


_SERVERS: Final = {GATEWAY: "gateway", AUDIT: "audit"}


def start(stage: Stage, departments: Sequence[Department], children: Children, *, report: Report) -> None:
    """Loads every department's data, starts every server, and returns when all of them serve.

    The gateway comes last: it looks for the nodes when it starts, and where it finds none it looks again only after
    a pause, in which that department counts as unavailable.

    Raises:
        LoadError: the data cannot be loaded.
        ChildFailed: a server does not come up.
    """
    report("starting the audit service")
    servers = [_start(stage, children, AUDIT)]
    for department in departments:
        report(f"loading {department.name} and starting its node")
        who = node(department.name)
        _load(stage.files[who].parent, department, stage.manifests[department.name])
        servers.append(_start(stage, children, who))
    children.await_ready(servers)
    report("starting the gateway")
    children.await_ready([_start(stage, children, GATEWAY)])


def _start(stage: Stage, children: Children, who: str) -> Child:
    arguments = (_SERVERS.get(who, "department"), str(stage.files[who]))
    return children.start(stage.parties.identity(who), stage.addresses[who], arguments)
